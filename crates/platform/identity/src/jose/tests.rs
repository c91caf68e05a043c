//! Which tokens are believed, and the known ways to forge one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use ring::{hmac, rsa};
use serde_json::{Value, json};

use super::{ALGORITHMS, Checks, KeySet, Token, TokenError, algorithms};
use crate::tests::START;

const RSA: &[u8] = include_bytes!("../../testdata/rsa-of-tests.der");

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Keys of every kind and what they sign with.
struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Signers {
    fn new() -> Self {
        let random = SystemRandom::new();
        let curve = |algorithm| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key")
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self {
            rsa: rsa::KeyPair::from_pkcs8(RSA).expect("a key"),
            p256: curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).expect("a key"),
            random,
        }
    }

    fn jwks(&self) -> Vec<Value> {
        let parts: PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let point = |bytes: &[u8], curve: &str, id: &str| {
            let (x, y) = bytes[1..].split_at((bytes.len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "kid": id, "x": encode(x), "y": encode(y)})
        };
        vec![
            json!({"kty": "RSA", "kid": "rsa", "n": encode(parts.n), "e": encode(parts.e), "use": "sig"}),
            point(self.p256.public_key().as_ref(), "P-256", "p256"),
            point(self.p384.public_key().as_ref(), "P-384", "p384"),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed25519.public_key())}),
        ]
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(json!({"keys": self.jwks()}).to_string().as_bytes()).expect("keys")
    }

    fn sign(&self, header: &Value, claims: &Value, how: &str) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.signature(&message, how);
        format!("{message}.{}", encode(signature))
    }

    fn signature(&self, message: &str, how: &str) -> Vec<u8> {
        let by_rsa = |encoding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(encoding, &self.random, message.as_bytes(), &mut signature).expect("a signature");
            signature
        };
        match how {
            "RS256" => by_rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => by_rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => by_rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => by_rsa(&signature::RSA_PSS_SHA256),
            "PS384" => by_rsa(&signature::RSA_PSS_SHA384),
            "PS512" => by_rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&self.random, message.as_bytes()).expect("a signature").as_ref().to_vec(),
            "ES384" => self.p384.sign(&self.random, message.as_bytes()).expect("a signature").as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(message.as_bytes()).as_ref().to_vec(),
            other => panic!("nothing signs {other}"),
        }
    }
}

fn good() -> Value {
    json!({"iss": "https://idp.example", "aud": ["api", "web"], "sub": "u1", "exp": START + 60, "nbf": START - 60})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    if claims[name].is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    }
    claims
}

fn verify(keys: &KeySet, token: &str) -> Result<Value, TokenError> {
    let audiences = ["api".to_owned()];
    let checks = Checks {
        issuer: "https://idp.example",
        audiences: &audiences,
        algorithms: &ALGORITHMS,
        now: START,
        leeway: Duration::from_secs(30),
    };
    Token::read(token)?.verify(keys, &checks).map(Value::Object)
}

#[test]
fn every_algorithm_verifies_with_its_own_key() {
    let signers = Signers::new();
    let keys = signers.keys();
    for (algorithm, id) in [
        ("RS256", "rsa"),
        ("RS384", "rsa"),
        ("RS512", "rsa"),
        ("PS256", "rsa"),
        ("PS384", "rsa"),
        ("PS512", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("EdDSA", "ed"),
    ] {
        let token = signers.sign(&json!({"alg": algorithm, "kid": id}), &good(), algorithm);
        assert_eq!(verify(&keys, &token), Ok(good()), "{algorithm}");
        let nameless = signers.sign(&json!({"alg": algorithm}), &good(), algorithm);
        assert_eq!(verify(&keys, &nameless), Ok(good()), "{algorithm} without kid");
        // The same signature under another algorithm's name.
        for other in ALGORITHMS.map(|known| known.name).iter().filter(|other| **other != algorithm) {
            let token = signers.sign(&json!({"alg": other, "kid": id}), &good(), algorithm);
            assert_eq!(verify(&keys, &token), Err(TokenError::Signature), "{algorithm} as {other}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let signers = Signers::new();
    let keys = signers.keys();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS256 ", "rs256", "ES512", "RSA1_5"] {
        for header in [json!({"alg": alg}), json!({"alg": alg, "kid": "rsa"})] {
            let message = format!("{}.{}", encode(header.to_string()), encode(good().to_string()));
            for signature in ["", "AA"] {
                assert_eq!(verify(&keys, &format!("{message}.{signature}")), Err(TokenError::Algorithm), "{header}");
            }
        }
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signers = Signers::new();
    let keys = signers.keys();
    let rsa = &signers.jwks()[0];
    let modulus = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().expect("text")).expect("base64");
    for secret in [modulus.as_slice(), rsa.to_string().as_bytes(), rsa["n"].as_str().expect("text").as_bytes()] {
        for alg in ["HS256", "RS256"] {
            let message =
                format!("{}.{}", encode(json!({"alg": alg, "kid": "rsa"}).to_string()), encode(good().to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            let told = verify(&keys, &format!("{message}.{}", encode(tag)));
            let expected = if alg == "HS256" { TokenError::Algorithm } else { TokenError::Signature };
            assert_eq!(told, Err(expected));
        }
    }
    let symmetric = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}).to_string();
    assert!(KeySet::parse(symmetric.as_bytes()).is_err(), "a set of shared secrets has no public key");
}

#[test]
fn keys_of_the_token_itself_are_not_looked_at() {
    let (signers, attacker) = (Signers::new(), Signers::new());
    let keys = signers.keys();
    for more in [
        json!({"jwk": attacker.jwks()[1]}),
        json!({"jku": "https://evil.example/keys"}),
        json!({"x5u": "https://evil.example"}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "p256"});
        header.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        assert_eq!(verify(&keys, &attacker.sign(&header, &good(), "ES256")), Err(TokenError::Signature), "{header}");
    }
    for kid in ["p384", "../../dev/null", "' OR 1=1 --"] {
        let token = signers.sign(&json!({"alg": "ES256", "kid": kid}), &good(), "ES256");
        let expected = if kid == "p384" { TokenError::Signature } else { TokenError::UnknownKey };
        assert_eq!(verify(&keys, &token), Err(expected), "{kid}");
    }
}

#[test]
fn a_key_says_what_it_is_for() {
    let signers = Signers::new();
    let key = |more: Value| {
        let mut key = signers.jwks()[0].clone();
        key.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        KeySet::parse(json!({"keys": [key]}).to_string().as_bytes())
    };
    let token = signers.sign(&json!({"alg": "PS256", "kid": "rsa"}), &good(), "PS256");
    assert_eq!(verify(&key(json!({"alg": "PS256", "key_ops": ["verify"]})).expect("a key"), &token), Ok(good()));
    assert_eq!(verify(&key(json!({"alg": "RS256"})).expect("a key"), &token), Err(TokenError::Signature));
    let small = encode([0xff; 128]);
    for wrong in [
        json!({"use": "enc"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"n": small}),
        json!({"e": ""}),
        json!({"n": "*"}),
    ] {
        assert!(key(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn claims_must_be_for_us_and_for_now() {
    let signers = Signers::new();
    let keys = signers.keys();
    let cases: &[(&str, Value, Option<TokenError>)] = &[
        ("iss", json!("https://idp.example/"), Some(TokenError::Issuer)),
        ("iss", json!(["https://idp.example"]), Some(TokenError::Issuer)),
        ("iss", Value::Null, Some(TokenError::Issuer)),
        ("aud", json!("api"), None),
        ("aud", json!("ap"), Some(TokenError::Audience)),
        ("aud", json!(["web"]), Some(TokenError::Audience)),
        ("aud", json!([]), Some(TokenError::Audience)),
        ("aud", json!({"api": true}), Some(TokenError::Audience)),
        ("aud", Value::Null, Some(TokenError::Audience)),
        ("exp", json!(START - 29), None),
        ("exp", json!(START - 30), Some(TokenError::Expired)),
        ("exp", json!(START as f64 + 0.5), None),
        ("exp", json!("9999999999"), Some(TokenError::Malformed)),
        ("exp", Value::Null, Some(TokenError::NoExpiry)),
        ("exp", json!(-1), Some(TokenError::Expired)),
        ("nbf", json!(START + 30), None),
        ("nbf", json!(START + 31), Some(TokenError::NotYet)),
        ("nbf", json!(true), Some(TokenError::Malformed)),
        ("iat", json!(START + 31), Some(TokenError::NotYet)),
    ];
    for (name, value, expected) in cases {
        let claims = changed(name, value.clone());
        let told = verify(&keys, &signers.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims, "EdDSA"));
        assert_eq!(told.err(), *expected, "{name}: {value}");
    }
}

#[test]
fn what_is_no_token_is_told_apart_from_a_wrong_one() {
    let signers = Signers::new();
    let keys = signers.keys();
    let token = signers.sign(&json!({"alg": "ES256", "kid": "p256"}), &good(), "ES256");
    let parts: Vec<&str> = token.split('.').collect();
    let header = |text: &str| format!("{}.{}.{}", encode(text), parts[1], parts[2]);
    for (case, text) in [
        ("nothing", String::new()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{token}.x")),
        ("encrypted", format!("{token}.x.y")),
        ("padding", format!("{token}=")),
        ("a line", format!("{token}\n")),
        ("no JSON", header("x")),
        ("an algorithm twice", header(r#"{"alg":"none","alg":"ES256","kid":"p256"}"#)),
        ("an extension to understand", header(r#"{"alg":"ES256","kid":"p256","crit":["exp"]}"#)),
        ("a bare payload", header(r#"{"alg":"ES256","kid":"p256","b64":false}"#)),
        ("too long", format!("{token}{}", "A".repeat(17_000))),
    ] {
        assert_eq!(verify(&keys, &text), Err(TokenError::Malformed), "{case}");
    }
    let swapped = format!("{}.{}.{}", parts[0], encode(changed("sub", json!("admin")).to_string()), parts[2]);
    assert_eq!(verify(&keys, &swapped), Err(TokenError::Signature));
    assert!(verify(&keys, &token[..token.len() - 4]).is_err());
}

#[test]
fn a_policy_may_narrow_the_algorithms() {
    let told = algorithms(&["ES256".to_owned(), "none".to_owned()]).expect_err("refused");
    assert!(told.contains("\"none\" is not accepted") && told.contains("EdDSA"), "{told}");
    let only = algorithms(&["ES256".to_owned()]).expect("known");
    let signers = Signers::new();
    let token = signers.sign(&json!({"alg": "RS256", "kid": "rsa"}), &good(), "RS256");
    assert_eq!(Token::read(&token).expect("a token").algorithm(&only).err(), Some(TokenError::Algorithm));
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in ".{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Token::parse(&text).is_err() || text.contains('.'));
        prop_assert!(KeySet::parse(&bytes).is_err());
    }

    #[test]
    fn no_key_makes_a_verification_panic(x in prop::collection::vec(any::<u8>(), 0..70), signature in prop::collection::vec(any::<u8>(), 0..300)) {
        let sets = [
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": encode(&x), "y": encode(&x)}]}),
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encode(&x)}]}),
            json!({"keys": [{"kty": "RSA", "n": encode(x.repeat(5)), "e": encode(&x)}]}),
        ];
        for set in sets {
            if let Ok(keys) = KeySet::parse(set.to_string().as_bytes()) {
                prop_assert!(ALGORITHMS.iter().all(|algorithm| !keys.verify(None, *algorithm, b"message", &signature)));
            }
        }
    }

    #[test]
    fn a_changed_token_is_never_believed(at in 0usize..400, to in "[A-Za-z0-9_.-]") {
        let signers = Signers::new();
        let token = signers.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &good(), "EdDSA");
        let at = at % token.len();
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert!(changed == token || verify(&signers.keys(), &changed).is_err());
    }
}
