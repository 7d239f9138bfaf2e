//! What the private Postgres has to know of the machine: the server's version, the user it may run as, a free port.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

/// Users that may run the server when we are root, in order of preference.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

/// The major version of the server in this directory, such as `15`.
pub(super) async fn major_version(bin: &Path) -> anyhow::Result<String> {
    let postgres = bin.join("postgres");
    let output = Command::new(&postgres)
        .arg("--version")
        .output()
        .await
        .with_context(|| format!("cannot run {}", postgres.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"
    let version = text
        .split_whitespace()
        .nth(2)
        .context("postgres --version says nothing")?;
    let major: String = version.chars().take_while(char::is_ascii_digit).collect();
    ensure!(
        !major.is_empty(),
        "cannot read the version of Postgres: {}",
        text.trim()
    );
    Ok(major)
}

/// The user the server must run as where we are root.
pub(super) async fn unprivileged_owner() -> anyhow::Result<Option<(u32, u32)>> {
    if user_id(&["-u"]).await != Some(0) {
        return Ok(None);
    }
    for user in UNPRIVILEGED_USERS {
        if let (Some(uid), Some(gid)) = (user_id(&["-u", user]).await, user_id(&["-g", user]).await)
        {
            return Ok(Some((uid, gid)));
        }
    }
    bail!("Postgres cannot run as root, and there is no user `postgres` or `nobody`")
}

/// Asks `id`: the system call would need `unsafe`.
async fn user_id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().await.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The same for every start from the same repository, and no two repositories share it.
pub(super) fn machine_wide_name(state_dir: &Path) -> String {
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    format!("alipayhk-gateway-dev-{}", &hex::encode(digest)[..12])
}

/// A port nobody listens on at this moment.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
