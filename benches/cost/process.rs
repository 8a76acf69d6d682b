// SPDX-License-Identifier: MPL-2.0
//! Processes under measurement: they are asked in lines, and watched through /proc.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// A process that answers each line with a line of JSON. It is ended when this is dropped.
pub struct Process {
    name: String,
    process: std::process::Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What a process had used up at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    cpu: Duration,
    switches: u64,
    /// Resident memory in KiB, without code and other contents of files: which of that is there
    /// says nothing about streams.
    pub resident: f64,
}

/// What a process used between two readings.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub time: Duration,
    pub cpu: Duration,
    pub switches: u64,
}

impl Process {
    /// Starts this program as one of its parts.
    pub fn part<S: AsRef<OsStr>>(
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut all = vec![std::env::current_exe()?.into_os_string(), name.into()];
        all.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        Self::start(name, all)
    }

    /// Starts a program, with as many open files as the system allows.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        command: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$@""#, "sh"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a child process has no standard input or output".into());
        };
        Ok(Process {
            name: name.to_owned(),
            process,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Asks for something, and waits for the answer.
    pub fn ask(&mut self, what: &str) -> Result<Value> {
        writeln!(self.stdin, "{what}")?;
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("'{}' ended at '{what}'", self.name).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// What was used up to now, by all threads that are still there.
    pub fn reading(&self) -> Result<Reading> {
        let directory = format!("/proc/{}", self.process.id());
        let (mut cpu, mut switches) = (0, 0);
        for task in fs::read_dir(format!("{directory}/task"))? {
            let task = task?.path();
            // The thread may just have ended.
            let Ok(times) = fs::read_to_string(task.join("schedstat")) else {
                continue;
            };
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            cpu += times
                .split(' ')
                .next()
                .and_then(|nanoseconds| nanoseconds.parse::<u64>().ok())
                .unwrap_or_default();
            switches += field(&status, "voluntary_ctxt_switches")
                + field(&status, "nonvoluntary_ctxt_switches");
        }
        let status = fs::read_to_string(format!("{directory}/status"))?;
        Ok(Reading {
            at: Instant::now(),
            cpu: Duration::from_nanos(cpu),
            switches,
            resident: field(&status, "RssAnon") as f64,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Reading {
    /// What was used since an earlier one.
    pub fn since(&self, earlier: &Reading) -> Usage {
        Usage {
            time: self.at - earlier.at,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// Answers the lines on standard input until there are no more.
pub fn answer_lines(mut answer: impl FnMut(&str) -> Result<Value>) -> Result<()> {
    for line in std::io::stdin().lines() {
        let answer = answer(&line?)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
