//! Netlink attributes: length, type, payload, padded to four bytes; numbers in network order.

/// Attributes under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;

impl Attributes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A raw attribute.
    pub(crate) fn put(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).expect("invariant: callers split lists below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// A number.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A text with its terminating zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Attributes inside an attribute.
    pub(crate) fn nest(self, kind: u16, inner: &Attributes) -> Self {
        self.put(kind | NESTED, &inner.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let attributes = Attributes::new().text(1, "ab").number(2, 0x0102_0304);
        assert_eq!(attributes.bytes(), [7, 0, 1, 0, b'a', b'b', 0, 0, 8, 0, 2, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn nested_attributes_carry_the_mark() {
        let attributes = Attributes::new().nest(1, &Attributes::new().put(2, &[9]));
        assert_eq!(attributes.bytes(), [12, 0, 1, 0x80, 5, 0, 2, 0, 9, 0, 0, 0]);
    }
}
