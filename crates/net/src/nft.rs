//! nf_tables over netlink: just the messages and expressions the service proxy uses.
//!
//! Why not the `nft` program: starting it costs thirty times what the kernel needs for a change,
//! and it may not be installed. Why not a library: the permissive ones lack number generators and
//! NAT. Every change is one [`Batch`], which the kernel carries out wholly or not at all.

pub(crate) mod expr;
pub(crate) mod socket;
mod wire;

pub(crate) use socket::Batch;
pub use socket::Error;
pub(crate) use wire::Attributes;

/// Address family `ip`.
pub(crate) const FAMILY_IPV4: u8 = 2;

/// Removes a table and all in it, if it is there.
///
/// # Errors
/// When the kernel refuses.
pub fn delete_table(name: &str) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.add_table(name); // so that deleting it cannot fail for want of it
    batch.delete_table(name);
    batch.commit()
}
