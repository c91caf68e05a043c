//! Signatures that `ring` does not verify: ECDSA over P-521, and RSA PSS with a salt of any length.
//!
//! Invariant: public values only, so time may tell; and no bytes make it panic. Why here: Go makes both where nobody asks
//! for anything else, and who checks what Go made must take them.

use num_bigint::BigUint;
use ring::digest::{self, Algorithm, SHA256};

use crate::der;

/// A point of P-521 in Jacobian coordinates; none is the point at infinity.
type Point = Option<(BigUint, BigUint, BigUint)>;

/// P-521: y² = x³ - 3x + b modulo p; `order` is that of the base point.
struct Curve {
    p: BigUint,
    b: BigUint,
    order: BigUint,
    base: (BigUint, BigUint),
}

fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).expect("invariant: written in hexadecimal")
}

impl Curve {
    fn p521() -> Self {
        Self {
            p: (BigUint::from(1_u8) << 521_u32) - 1_u8,
            b: number(
                "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf0735\
                 73df883d2c34f1ef451fd46b503f00",
            ),
            order: number(
                "1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d0\
                 3bb5c9b8899c47aebb6fb71e91386409",
            ),
            base: (
                number(
                    "c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8\
                     de3348b3c1856a429bf97e7e31c2e5bd66",
                ),
                number(
                    "11839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0\
                     761353c7086a272c24088be94769fd16650",
                ),
            ),
        }
    }

    fn minus(&self, a: &BigUint, b: &BigUint) -> BigUint {
        (a + &self.p - b) % &self.p
    }

    fn times(&self, a: &BigUint, b: &BigUint) -> BigUint {
        (a * b) % &self.p
    }

    fn holds(&self, x: &BigUint, y: &BigUint) -> bool {
        let right = self.times(&self.minus(&self.times(x, x), &BigUint::from(3_u8)), x) + &self.b;
        *x < self.p && *y < self.p && self.times(y, y) == right % &self.p
    }

    fn double(&self, point: &Point) -> Point {
        let (x, y, z) = point.as_ref()?;
        let (zz, yy) = (self.times(z, z), self.times(y, y));
        let slope = self.times(&self.minus(x, &zz), &(x + &zz)) * 3_u8 % &self.p;
        let four = self.times(x, &yy) * 4_u8 % &self.p;
        let new_x = self.minus(&self.times(&slope, &slope), &(&four * 2_u8 % &self.p));
        let eight = self.times(&yy, &yy) * 8_u8 % &self.p;
        let new_y = self.minus(&self.times(&slope, &self.minus(&four, &new_x)), &eight);
        let new_z = self.times(y, z) * 2_u8 % &self.p;
        (new_z != BigUint::ZERO).then_some((new_x, new_y, new_z))
    }

    fn add(&self, one: &Point, other: &Point) -> Point {
        let (Some((x1, y1, z1)), Some((x2, y2, z2))) = (one, other) else { return one.clone().or(other.clone()) };
        let (zz1, zz2) = (self.times(z1, z1), self.times(z2, z2));
        let (u1, u2) = (self.times(x1, &zz2), self.times(x2, &zz1));
        let (s1, s2) = (self.times(&self.times(y1, z2), &zz2), self.times(&self.times(y2, z1), &zz1));
        let (h, r) = (self.minus(&u2, &u1), self.minus(&s2, &s1));
        if h == BigUint::ZERO {
            return if r == BigUint::ZERO { self.double(one) } else { None };
        }
        let hh = self.times(&h, &h);
        let (hhh, v) = (self.times(&h, &hh), self.times(&u1, &hh));
        let x = self.minus(&self.minus(&self.times(&r, &r), &hhh), &(&v * 2_u8 % &self.p));
        let y = self.minus(&self.times(&r, &self.minus(&v, &x)), &self.times(&s1, &hhh));
        Some((x, y, self.times(&self.times(z1, z2), &h)))
    }

    /// `a` times the base and `b` times the point, in one walk over both.
    fn combine(&self, a: &BigUint, b: &BigUint, point: &Point) -> Point {
        let one = BigUint::from(1_u8);
        let base = Some((self.base.0.clone(), self.base.1.clone(), one));
        let both = self.add(&base, point);
        (0..a.bits().max(b.bits())).rev().fold(None, |sum, bit| {
            let sum = self.double(&sum);
            match (a.bit(bit), b.bit(bit)) {
                (true, true) => self.add(&sum, &both),
                (true, false) => self.add(&sum, &base),
                (false, true) => self.add(&sum, point),
                (false, false) => sum,
            }
        })
    }

    /// The x of a point, as anybody else would write it.
    fn affine_x(&self, point: &Point) -> Option<BigUint> {
        let (x, _, z) = point.as_ref()?;
        let inverse = z.modinv(&self.p)?;
        Some(self.times(x, &self.times(&inverse, &inverse)))
    }
}

/// ECDSA over P-521. `key` is the uncompressed point, `signature` in ASN.1.
pub(crate) fn p521(key: &[u8], hash: &'static Algorithm, message: &[u8], signature: &[u8]) -> bool {
    ecdsa(key, hash, message, signature).unwrap_or(false)
}

fn ecdsa(key: &[u8], hash: &'static Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
    let curve = Curve::p521();
    let (x, y) = match key {
        [4, rest @ ..] if rest.len() == 132 => rest.split_at(66),
        _ => return None,
    };
    let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
    let (numbers, []) = der::take(signature, der::SEQUENCE)? else { return None };
    let (r, rest) = der::take(numbers, der::INTEGER)?;
    let (s, []) = der::take(rest, der::INTEGER)? else { return None };
    let in_range = |bytes: &[u8]| {
        let number = BigUint::from_bytes_be(bytes);
        let positive = bytes.first().is_some_and(|first| first & 0x80 == 0) && number != BigUint::ZERO;
        (positive && number < curve.order).then_some(number)
    };
    let (r, s) = (in_range(r)?, in_range(s)?);
    if !curve.holds(&x, &y) {
        return None;
    }
    // no hash is longer than the order, so nothing of it is cut off
    let hashed = BigUint::from_bytes_be(digest::digest(hash, message).as_ref());
    let inverse = s.modinv(&curve.order)?;
    let (a, b) = ((hashed * &inverse) % &curve.order, (&r * inverse) % &curve.order);
    let sum = curve.combine(&a, &b, &Some((x, y, BigUint::from(1_u8))));
    Some(curve.affine_x(&sum)? % &curve.order == r)
}

/// RSA PSS with SHA-256. Modulus and exponent are big-endian.
pub(crate) fn pss(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    encoded_pss(modulus, exponent, signature).is_some_and(|(encoded, bits)| is_pss(&encoded, bits, message))
}

/// What was signed, and how many bits of it count.
fn encoded_pss(modulus: &[u8], exponent: &[u8], signature: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (modulus, exponent) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
    let bits = usize::try_from(modulus.bits()).ok()?.checked_sub(1)?;
    let signed = BigUint::from_bytes_be(signature);
    // Go takes no larger exponents either; they would cost time
    if signature.len() != (bits + 1).div_ceil(8) || signed >= modulus || exponent.bits() > 31 {
        return None;
    }
    let raised = signed.modpow(&exponent, &modulus).to_bytes_be();
    let length = bits.div_ceil(8);
    let mut encoded = vec![0; length.checked_sub(raised.len())?];
    encoded.extend(raised);
    Some((encoded, bits))
}

/// RFC 8017, 9.1.2, with the length of the salt read from where it begins.
fn is_pss(encoded: &[u8], bits: usize, message: &[u8]) -> bool {
    let hash = SHA256.output_len();
    let Some((&0xbc, rest)) = encoded.split_last() else { return false };
    let Some(masked) = rest.len().checked_sub(hash).filter(|masked| *masked > 0) else { return false };
    let (masked, told) = rest.split_at(masked);
    let mut block: Vec<u8> = masked.iter().zip(mask(told, masked.len())).map(|(a, b)| a ^ b).collect();
    let unused = 8 * encoded.len() - bits;
    if unused > 0 && masked[0] >> (8 - unused) != 0 {
        return false;
    }
    block[0] &= 0xff >> unused;
    let Some(start) = block.iter().position(|byte| *byte != 0).filter(|start| block[*start] == 1) else { return false };
    let mut whole = vec![0; 8];
    whole.extend_from_slice(digest::digest(&SHA256, message).as_ref());
    whole.extend_from_slice(&block[start + 1..]);
    digest::digest(&SHA256, &whole).as_ref() == told
}

/// MGF1.
fn mask(seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    let blocks = (0..u32::try_from(length).unwrap_or(u32::MAX)).map(move |counter| {
        let mut input = seed.to_vec();
        input.extend_from_slice(&counter.to_be_bytes());
        digest::digest(&SHA256, &input).as_ref().to_vec()
    });
    blocks.flatten().take(length)
}
