//! Child processes that end with their parent, whatever ends it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waits at the read end of a pipe: when the parent is gone, however it went, the pipe closes and
/// the child is ended.
const GUARD: &str = r#"
pidfile=$1; shift
"$@" & child=$!
echo $child > "$pidfile"
# The guard itself must outlive the child when it is told to end.
trap '' TERM INT
# An API server that lost its store first would otherwise never end.
{ cat > /dev/null; kill -TERM $child; sleep 5; kill -KILL $child; } <&3 2>/dev/null & watcher=$!
wait $child; code=$?
kill -KILL $watcher 2>/dev/null
exit $code
"#;

/// Runs a program with something on its standard input: what it printed, or what it complained about.
pub fn fed(command: &mut Command, input: &str) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| format!("{name} cannot be run: {error}"))?;
    let written = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    written.map_err(|error| format!("{name} does not read: {error}"))?;
    Ok(text(&output.stdout))
}

/// A running program.
pub struct Process {
    guard: Child,
    pid_file: PathBuf,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts `program`; its output goes to `<dir>/<name>.log`.
    pub fn start<S: AsRef<OsStr>>(
        dir: &Path,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        env: &[(&str, &str)],
    ) -> Self {
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        let _ = std::fs::remove_file(&pid_file);
        let output = File::options().create(true).append(true).open(&log).expect("a log file");
        let guard = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 3<&0; {GUARD}"))
            .arg("guard")
            .arg(&pid_file)
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { guard, pid_file, log, name: name.to_owned() }
    }

    /// Process id of the program itself.
    pub fn pid(&self) -> u32 {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let text = std::fs::read_to_string(&self.pid_file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                return pid;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{} has no process id", self.name);
    }

    /// Sends a signal by name, such as `KILL`.
    pub fn signal(&self, signal: &str) {
        let _ = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.guard.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Ends it as a pod is ended, and waits.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait(Duration::from_secs(60))
    }

    /// Everything it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Processor time used so far, in seconds, and resident memory in KiB.
    pub fn usage(&self) -> (f64, u64) {
        let pid = self.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        // utime and stime are fields 14 and 15 of proc(5), counted from the pid.
        let seconds = (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        (seconds, memory.unwrap_or(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Closing the pipe tells the guard.
        drop(self.guard.stdin.take());
        if self.wait(Duration::from_secs(10)).is_none() {
            self.signal("KILL");
            let _ = self.guard.wait();
        }
    }
}
