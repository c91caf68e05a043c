//! The shim as a program of its own: what the runtime's tests start, and the smallest main there is.

fn main() {
    knarr_node::shim::main(std::env::args_os().skip(1).collect())
}
