//! What Linux tells of a running gateway: which process it is, how much memory it has. Reads `/proc` and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use url::Url;

/// The process of the gateway that listens on this address, where we may look at it.
pub(super) fn find_gateway(url: &Url) -> Option<PathBuf> {
    let listen = format!(
        "HTTP_LISTEN={}:{}",
        url.host_str()?,
        url.port_or_known_default()?
    );
    fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|process| {
            let arguments = words(process.join("cmdline"));
            arguments.get(1).is_some_and(|command| command == "serve")
                && arguments[0].ends_with("alipayhk-gateway")
                && words(process.join("environ")).contains(&listen)
        })
}

/// Words that each end with a zero byte, as `/proc` has them.
fn words(file: PathBuf) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) now_kib: u64,
    pub(super) peak_kib: u64,
}

/// The memory of a process found before.
pub(super) fn memory(process: &Path) -> Option<Memory> {
    parse(&fs::read_to_string(process.join("status")).ok()?)
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory {
        now_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        let memory = Memory {
            now_kib: 10_240,
            peak_kib: 20_480,
        };
        assert_eq!(parse(status), Some(memory));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
