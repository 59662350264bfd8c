//! System calls that a box may not make.
//!
//! Namespaces and missing capabilities take care of most. What is left are calls that need no capability, reach large or
//! shared parts of the system, and that programs do without.

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

/// The calls. The keys are shared by all processes of a user; the rest have let people out of boxes before.
const DENIED: [libc::c_long; 11] = [
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_perf_event_open,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
];

/// What the system calls this processor. Calls are numbered differently on each, and a system may serve more than one.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// The numbers from here on are those of another way to make calls on `x86_64`; other processors have none that high.
const FOREIGN_CALLS: u32 = 0x4000_0000;

/// Where the call's number and the architecture are in what the filter sees.
const NUMBER: u32 = 0;
const ARCHITECTURE_FIELD: u32 = 4;

/// Where the low half of the first argument is, of which the system takes a socket's family.
const FIRST_ARGUMENT: u32 = 16;

/// The families of sockets that a box may make: local, IPv4, IPv6, and the kernel's own for questions about them. What is
/// left out may lead past the box's network, as `AF_VSOCK` does to a machine outside of this one.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The filter, in the form that the system reads.
pub(super) fn filter() -> Vec<u8> {
    let denied = u8::try_from(DENIED.len()).unwrap_or(u8::MAX);
    let families = u8::try_from(FAMILIES.len()).unwrap_or(u8::MAX);
    // The steps from the last denied call to the permission: two, one for each family, and its refusal.
    let sockets = families + 3;
    let mut program = vec![
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, ARCHITECTURE_FIELD),
        // To the last but one if it is another processor's.
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, denied + sockets + 3, ARCHITECTURE),
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, NUMBER),
        instruction(BPF_JMP | BPF_JGE | BPF_K, denied + sockets + 1, 0, FOREIGN_CALLS),
    ];
    for (index, call) in (0..denied).zip(DENIED) {
        let call = u32::try_from(call).unwrap_or(u32::MAX);
        // To the last one, past the calls that follow, sockets, the permission and the refusal of foreign calls.
        program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, denied - index + sockets + 1, 0, call));
    }
    // To the permission if it makes no socket.
    program.push(instruction(
        BPF_JMP | BPF_JEQ | BPF_K,
        0,
        sockets - 1,
        u32::try_from(libc::SYS_socket).unwrap_or(u32::MAX),
    ));
    program.push(instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, FIRST_ARGUMENT));
    for (index, family) in (0..families).zip(FAMILIES) {
        program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, families - index, 0, family.cast_unsigned()));
    }
    program.push(refusal(libc::EAFNOSUPPORT));
    program.push(instruction(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(refusal(libc::ENOSYS));
    program.push(refusal(libc::EPERM));
    program.concat()
}

fn refusal(error: i32) -> [u8; 8] {
    instruction(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error.cast_unsigned())
}

/// One step: what to do, how many steps to skip if a comparison holds and if it does not, and its number.
fn instruction(code: u32, holds: u8, fails: u8, number: u32) -> [u8; 8] {
    let mut step = [0; 8];
    step[..2].copy_from_slice(&u16::try_from(code).unwrap_or(0).to_ne_bytes());
    step[2..4].copy_from_slice(&[holds, fails]);
    step[4..].copy_from_slice(&number.to_ne_bytes());
    step
}
