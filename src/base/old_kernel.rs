//! For tests: a kernel like those of RHEL 7, RHEL 8 and Debian 10, which have none of the
//! system calls that came with Linux 5.

use nix::libc;

/// Does the work in a thread for which these do not exist, nor for what it starts.
pub fn on_one<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let in_thread = || {
        take_away(&[
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_close_range,
            libc::SYS_openat2,
            libc::SYS_faccessat2,
        ]);
        work()
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

fn take_away(calls: &[libc::c_long]) {
    let step = |code: u32, k: u32, jt: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    // The number of the call, compared with each of these.
    let mut steps = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        steps.push(step(equal, *call as u32, (calls.len() - at) as u8));
    }
    let ret = libc::BPF_RET | libc::BPF_K;
    steps.push(step(ret, libc::SECCOMP_RET_ALLOW, 0));
    steps.push(step(ret, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0));
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the program outlives the calls, which concern this thread alone.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
