//! What payments cost: CPU and memory of processes as `/proc` tells them, and what Postgres counts.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

/// Linux tells CPU in hundredths of a second, on every machine there is.
const TICK_US: u64 = 10_000;

/// The processes of the machine at one moment.
#[derive(Debug)]
pub(super) struct Processes(HashMap<u32, Process>);

#[derive(Debug)]
struct Process {
    parent: u32,
    /// CPU of itself, and of the children that have ended, in ticks.
    ticks: u64,
}

impl Processes {
    pub(super) fn now() -> anyhow::Result<Self> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let pid = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            if let Some(pid) = pid
                && let Ok(stat) = fs::read_to_string(path.join("stat"))
                && let Some(process) = Process::parse(&stat)
            {
                all.insert(pid, process);
            }
        }
        Ok(Self(all))
    }

    /// A process and all that it started.
    pub(super) fn tree(&self, root: u32) -> Vec<u32> {
        let mut tree = vec![root];
        let mut seen = 0;
        while let Some(parent) = tree.get(seen).copied() {
            let children = self.0.iter().filter(|(_, child)| child.parent == parent);
            tree.extend(children.map(|(pid, _)| *pid));
            seen += 1;
        }
        tree
    }

    /// CPU of a process and all that it started, in microseconds.
    pub(super) fn cpu_us(&self, root: u32) -> u64 {
        let of_each = self.tree(root).into_iter();
        let ticks: u64 = of_each
            .filter_map(|pid| self.0.get(&pid))
            .map(|process| process.ticks)
            .sum();
        ticks * TICK_US
    }
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name before may hold anything, also a parenthesis.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields.get(11..15)?.iter();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum(),
        })
    }
}

/// Resident memory of these processes, in KiB.
pub(super) fn resident_kib(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}

/// What has been counted since the start of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) program_us: u64,
    pub(super) postgres_us: u64,
    pub(super) wal_bytes: u64,
    /// Pages that were looked at.
    pub(super) buffers: u64,
    /// Rows inserted, updated and deleted.
    pub(super) rows: u64,
    /// Entries of indexes that were read for rows.
    pub(super) index_tuples: u64,
}

impl Counters {
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            program_us: self.program_us - before.program_us,
            postgres_us: self.postgres_us - before.postgres_us,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            buffers: self.buffers - before.buffers,
            rows: self.rows - before.rows,
            index_tuples: self.index_tuples - before.index_tuples,
        }
    }
}

/// Reads the counters of one program and of its database.
#[derive(Debug)]
pub(super) struct Meter {
    connection: PgConnection,
    postmaster: u32,
    /// The guard of the program; it and all that it started are the program.
    program: u32,
}

impl Meter {
    /// `url` is that of a superuser: only one may read all the counters.
    pub(super) async fn new(url: &str, program: u32) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        let processes = Processes::now()?;
        let backend = processes.0.get(&u32::try_from(backend)?);
        let postmaster = backend.context("Postgres is on another machine")?.parent;
        Ok(Self {
            connection,
            postmaster,
            program,
        })
    }

    pub(super) async fn read(&mut self) -> anyhow::Result<Counters> {
        let (wal, buffers, rows, index_tuples): (i64, i64, i64, i64) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, blks_hit + blks_read,
                tup_inserted + tup_updated + tup_deleted,
                (select sum(idx_tup_read)::bigint from pg_stat_user_indexes)
            from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let processes = Processes::now()?;
        Ok(Counters {
            program_us: processes.cpu_us(self.program),
            postgres_us: processes.cpu_us(self.postmaster),
            wal_bytes: wal.try_into()?,
            buffers: buffers.try_into()?,
            rows: rows.try_into()?,
            index_tuples: index_tuples.try_into()?,
        })
    }

    /// Lets the whole cluster vacuum and analyse by itself, or not.
    pub(super) async fn autovacuum(&mut self, is_on: bool) -> anyhow::Result<()> {
        let set = if is_on {
            "alter system reset autovacuum"
        } else {
            "alter system set autovacuum = off"
        };
        sqlx::raw_sql(set).execute(&mut self.connection).await?;
        let reload = sqlx::raw_sql("select pg_reload_conf()");
        reload.execute(&mut self.connection).await?;
        Ok(())
    }

    /// How many payments of the gateway are open.
    pub(super) async fn open_payments(&mut self) -> anyhow::Result<i64> {
        let count = "select count(*) from payment where status = 'processing'";
        Ok(sqlx::query_scalar(count)
            .fetch_one(&mut self.connection)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_counts_a_process_and_all_that_it_started() {
        let stat = |parent: u32, ticks: u64| {
            let text = format!("7 (a) b)) S {parent} 7 7 0 -1 4 1 1 1 1 {ticks} 1 2 0 20 0 1");
            Process::parse(&text).unwrap()
        };
        let processes = Processes(HashMap::from([
            (1, stat(0, 100)),
            (2, stat(1, 10)),
            (3, stat(2, 20)),
        ]));
        assert_eq!(processes.cpu_us(2), (13 + 23) * TICK_US);
        assert!(resident_kib(&[std::process::id()]) > 0);
    }
}
