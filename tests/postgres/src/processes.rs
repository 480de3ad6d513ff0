//! The processes of a server: the postmaster and its children.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait_until;

/// Sends SIGSTOP to the postmaster and to all of its children, and waits until they have stopped.
/// Returns the children.
pub(crate) fn stop(postmaster: Pid) -> Vec<Pid> {
    // A stopped postmaster starts no child while the list is made.
    stop_all(&[postmaster]);
    let children = children(postmaster);
    stop_all(&children);
    children
}

/// Sends SIGCONT to the postmaster and to all of its children.
pub(crate) fn resume(postmaster: Pid) {
    for process in children(postmaster).into_iter().chain([postmaster]) {
        signal(process, Signal::CONT);
    }
}

/// Sends SIGKILL to the postmaster and to all of its children, and waits until they have ended. The
/// parent of the postmaster still has to wait for it.
pub(crate) fn kill(postmaster: Pid) {
    let mut processes = stop(postmaster);
    processes.insert(0, postmaster);
    for process in &processes {
        signal(*process, Signal::KILL);
    }
    wait_until("the killed processes end", || processes.iter().all(|process| has_ended(*process)));
}

fn stop_all(processes: &[Pid]) {
    for process in processes {
        signal(*process, Signal::STOP);
    }
    wait_until("the processes stop", || {
        processes.iter().all(|process| {
            has_ended(*process) || status(*process).is_some_and(|(state, _)| state == 'T')
        })
    });
}

/// Sends a signal to a process that may have ended. A child that ends is not waited for by us, so
/// this is not an error.
fn signal(process: Pid, signal: Signal) {
    let _has_ended = kill_process(process, signal);
}

fn children(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of_parent = |pid: &Pid| {
        status(*pid).is_some_and(|(_, parent_of_pid)| parent_of_pid == Pid::as_raw(Some(parent)))
    };
    pids.filter_map(Pid::from_raw).filter(of_parent).collect()
}

/// Returns whether the process has ended, whether or not its parent has waited for it.
pub(crate) fn has_ended(process: Pid) -> bool {
    status(process).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// Reads the state of the process and the id of its parent, as proc(5) describes them. Returns
/// `None` if there is no such process.
fn status(process: Pid) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", Pid::as_raw(Some(process)))).ok()?;
    // The name of the program is in parentheses and may itself contain some.
    let mut fields = text.rsplit(')').next()?.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
