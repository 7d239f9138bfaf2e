//! Writes that come at the same time go in one statement and one commit.
//!
//! What a statement costs besides its rows is most of what a payment costs: starting the executor, reading
//! the rules of each table, the round trip, and the flush of the log. Under load it is shared; alone, a
//! write goes at once and waits for nobody. While one group is under way the next one gathers, and a group
//! that takes long (it waits for a lock, or for its commit) keeps none behind it.
//!
//! A fault of one write is not the others': what a group was refused for certain is written again one by
//! one, each under its own name. What is in doubt is in doubt for each, and each reads for itself.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    pin,
    sync::oneshot,
    task::{JoinSet, yield_now},
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{error::Error, run::Lane};

/// How many writes a statement holds at most: what they share is a small part of it by then, and what it
/// locks stays locked for as long as it takes.
const MOST: usize = 32;

/// For how long others wait for a statement that is under way before another connection is taken.
pub const OTHERS_WAIT: Duration = Duration::from_millis(5);

/// For how long a statement of several waits for a lock: whoever holds it is in the way of one of them.
pub const LOCK_OF_SEVERAL: Duration = Duration::from_millis(100);

/// One write, of which several make a statement.
pub(super) trait Write: fmt::Debug + Send + Sync + Sized + 'static {
    /// What came of it.
    type Written: fmt::Debug + Send + 'static;

    /// What it is about: a statement holds one write of each, in this order, so that statements wait for
    /// each other in no circle.
    fn key(&self) -> Uuid;

    /// One statement for all of `writes`: what came of each, in their order.
    fn write(
        lane: &Lane,
        writes: &[Arc<Self>],
    ) -> impl Future<Output = Result<Vec<Self::Written>, Error>> + Send;
}

/// How long a statement of so many writes waits for a lock, as `set_config` takes it.
pub(super) fn lock_timeout(lane: &Lane, writes: usize) -> String {
    let limit = lane.limits().lock;
    let limit = if writes > 1 {
        limit.min(LOCK_OF_SEVERAL)
    } else {
        limit
    };
    format!("{}ms", limit.as_millis())
}

/// The values of one column.
pub(super) fn column<'a, W, T>(writes: &'a [Arc<W>], of: impl FnMut(&'a Arc<W>) -> T) -> Vec<T> {
    writes.iter().map(of).collect()
}

/// Gathers writes of one kind; cheap to clone.
#[derive(Debug)]
pub(super) struct GroupCommit<W: Write> {
    queue: Arc<Mutex<Queue<W>>>,
    others_wait: Duration,
}

#[derive(Debug)]
struct Queue<W: Write> {
    waiting: VecDeque<Waiting<W>>,
    /// Whether somebody takes what waits next.
    is_served: bool,
}

#[derive(Debug)]
struct Waiting<W: Write> {
    write: Arc<W>,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Result<W::Written, Error>>,
}

impl<W: Write> Clone for GroupCommit<W> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            others_wait: self.others_wait,
        }
    }
}

impl<W: Write> Default for GroupCommit<W> {
    fn default() -> Self {
        Self::with(OTHERS_WAIT)
    }
}

impl<W: Write> GroupCommit<W> {
    fn with(others_wait: Duration) -> Self {
        Self {
            others_wait,
            queue: Arc::new(Mutex::new(Queue {
                waiting: VecDeque::new(),
                is_served: false,
            })),
        }
    }

    /// Writes it, with others that come meanwhile. Dropped before its statement was sent, it is not
    /// written; later, that goes on.
    pub(super) async fn write(&self, lane: &Lane, write: Arc<W>) -> Result<W::Written, Error> {
        let (reply, written) = oneshot::channel();
        let serve = {
            let mut queue = self.queue();
            queue.waiting.push_back(Waiting {
                write,
                deadline: lane.deadline(),
                reply,
            });
            !std::mem::replace(&mut queue.is_served, true)
        };
        if serve {
            lane.spawn(self.clone().serve(lane.until(None)));
        }
        written
            .await
            .unwrap_or_else(|_| Err(Error::in_doubt(GroupLost)))
    }

    /// Writes what waits, until nothing does.
    async fn serve(self, lane: Lane) {
        loop {
            // Whoever is ready to write joins.
            yield_now().await;
            let Some(group) = self.next_group() else {
                return;
            };
            let written = write_group(&lane, group);
            pin!(written);
            if timeout(self.others_wait, &mut written).await.is_err() {
                self.let_others_go_on(&lane);
                written.await;
                return;
            }
        }
    }

    /// Those that wait, one of each key; none leaves the queue unserved.
    fn next_group(&self) -> Option<Vec<Waiting<W>>> {
        let mut queue = self.queue();
        let mut keys = HashSet::new();
        let mut group = Vec::new();
        for waiting in take(&mut queue.waiting) {
            if waiting.reply.is_closed() {
                continue;
            }
            if group.len() < MOST && keys.insert(waiting.write.key()) {
                group.push(waiting);
            } else {
                queue.waiting.push_back(waiting);
            }
        }
        queue.is_served = !group.is_empty();
        group.sort_unstable_by_key(|waiting| waiting.write.key());
        (!group.is_empty()).then_some(group)
    }

    fn let_others_go_on(&self, lane: &Lane) {
        let mut queue = self.queue();
        queue.is_served = !queue.waiting.is_empty();
        if queue.is_served {
            lane.spawn(self.clone().serve(lane.clone()));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a group and tells each what came of its own.
async fn write_group<W: Write>(lane: &Lane, mut group: Vec<Waiting<W>>) {
    if group.len() == 1 {
        if let Some(waiting) = group.pop() {
            write_alone(lane, waiting).await;
        }
        return;
    }
    let writes: Vec<_> = group
        .iter()
        .map(|waiting| Arc::clone(&waiting.write))
        .collect();
    let earliest = group.iter().filter_map(|waiting| waiting.deadline).min();
    match W::write(&lane.until(earliest), &writes).await {
        Ok(written) => {
            for (waiting, written) in group.into_iter().zip(written) {
                // Whoever asked may be gone.
                _ = waiting.reply.send(Ok(written));
            }
        }
        Err(error) if error.is_in_doubt() => {
            let error = Arc::new(error);
            for waiting in group {
                let doubt = Error::in_doubt(GroupInDoubt(Arc::clone(&error)));
                _ = waiting.reply.send(Err(doubt));
            }
        }
        Err(error) => {
            tracing::debug!(error = %error, writes = group.len(), "a group was refused; its writes go one by one");
            let mut alone = JoinSet::new();
            for waiting in group {
                let lane = lane.clone();
                alone.spawn(async move { write_alone(&lane, waiting).await });
            }
            alone.join_all().await;
        }
    }
}

async fn write_alone<W: Write>(lane: &Lane, waiting: Waiting<W>) {
    if waiting.reply.is_closed() {
        return;
    }
    let written = W::write(&lane.until(waiting.deadline), &[waiting.write])
        .await
        .and_then(|mut written| written.pop().ok_or_else(|| Error::in_doubt(GroupLost)));
    _ = waiting.reply.send(written);
}

/// The group's statement is in doubt.
#[derive(Debug, thiserror::Error)]
#[error("the statement of several writes")]
struct GroupInDoubt(#[source] Arc<Error>);

/// The task that wrote a group is gone.
#[derive(Debug, thiserror::Error)]
#[error("nobody said what came of the write")]
struct GroupLost;

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;
    use tokio::{sync::Semaphore, task::JoinHandle};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::db::run::{Lanes, Limits};

    /// What a database would be told, and when it answers.
    #[derive(Debug)]
    struct Fake {
        groups: Mutex<Vec<Vec<u128>>>,
        answers: Semaphore,
    }

    #[derive(Debug)]
    struct FakeWrite {
        key: u128,
        of: Arc<Fake>,
    }

    /// Refused for certain, wherever it is written.
    const REFUSED: u128 = 13;
    /// In doubt, wherever it is written.
    const IN_DOUBT: u128 = 17;

    impl Write for FakeWrite {
        type Written = u128;

        fn key(&self) -> Uuid {
            Uuid::from_u128(self.key)
        }

        async fn write(_: &Lane, writes: &[Arc<Self>]) -> Result<Vec<u128>, Error> {
            let keys = column(writes, |write| write.key);
            let fake = &writes.first().expect("a write").of;
            fake.groups.lock().expect("groups").push(keys.clone());
            fake.answers.acquire().await.expect("answers").forget();
            if keys.contains(&REFUSED) {
                return Err(Error::Constraint("unlucky".to_owned()));
            }
            if keys.contains(&IN_DOUBT) {
                return Err(Error::in_doubt(GroupLost));
            }
            Ok(keys)
        }
    }

    struct Bench {
        commits: GroupCommit<FakeWrite>,
        lane: Lane,
        fake: Arc<Fake>,
    }

    impl Bench {
        /// With so many answers ready. Nobody goes on before the one that is under way.
        fn new(answers: usize) -> Self {
            Self::with(answers, Duration::from_hours(1))
        }

        fn with(answers: usize, others_wait: Duration) -> Self {
            let options = PgConnectOptions::new_without_pgpass();
            Self {
                commits: GroupCommit::with(others_wait),
                lane: Lanes::new(&options, 4, Limits::USUAL).writes,
                fake: Arc::new(Fake {
                    groups: Mutex::default(),
                    answers: Semaphore::new(answers),
                }),
            }
        }

        fn write(&self, key: u128) -> JoinHandle<Result<u128, Error>> {
            let of = Arc::clone(&self.fake);
            let (commits, lane) = (self.commits.clone(), self.lane.clone());
            let call = async move { commits.write(&lane, Arc::new(FakeWrite { key, of })).await };
            TaskTracker::new().spawn(call)
        }

        async fn until_sent(&self, statements: usize) {
            while self.groups().len() < statements {
                yield_now().await;
            }
        }

        fn groups(&self) -> Vec<Vec<u128>> {
            self.fake.groups.lock().expect("groups").clone()
        }
    }

    #[tokio::test]
    async fn a_write_goes_at_once_and_those_that_come_meanwhile_go_together() {
        let bench = Bench::new(0);
        let first = bench.write(1);
        bench.until_sent(1).await;
        let others: Vec<_> = [5, 3, 4].map(|key| bench.write(key)).into();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(bench.groups(), [[1]], "the others wait");
        bench.fake.answers.add_permits(2);
        assert_eq!(first.await.expect("joined").expect("written"), 1);
        for (other, key) in others.into_iter().zip([5, 3, 4]) {
            assert_eq!(other.await.expect("joined").expect("written"), key);
        }
        assert_eq!(bench.groups(), [vec![1], vec![3, 4, 5]]);
    }

    #[tokio::test]
    async fn two_writes_about_the_same_are_two_statements() {
        let bench = Bench::new(9);
        let twins = [bench.write(2), bench.write(2), bench.write(3)];
        for twin in twins {
            twin.await.expect("joined").expect("written");
        }
        assert_eq!(bench.groups(), [vec![2, 3], vec![2]]);
    }

    #[tokio::test]
    async fn the_fault_of_one_is_not_the_others() {
        let bench = Bench::new(9);
        let calls = [1, REFUSED, 2].map(|key| bench.write(key));
        let mut written = Vec::new();
        for call in calls {
            written.push(call.await.expect("joined"));
        }
        assert!(matches!(
            written.as_slice(),
            [Ok(1), Err(Error::Constraint(_)), Ok(2)]
        ));
        assert_eq!(bench.groups().len(), 4, "one group, and three alone");
    }

    #[tokio::test]
    async fn what_its_caller_left_before_its_group_was_refused_is_not_written_alone() {
        let bench = Bench::new(0);
        let [kept, left] = [REFUSED, 1].map(|key| bench.write(key));
        bench.until_sent(1).await;
        left.abort();
        assert!(left.await.is_err_and(|error| error.is_cancelled()));
        bench.fake.answers.add_permits(3);
        let written = kept.await.expect("joined");
        assert!(matches!(written, Err(Error::Constraint(_))));
        assert_eq!(bench.groups(), [vec![1, REFUSED], vec![REFUSED]]);
    }

    #[tokio::test]
    async fn what_is_in_doubt_is_so_for_each_and_is_not_written_again() {
        let bench = Bench::new(9);
        let calls = [1, IN_DOUBT].map(|key| bench.write(key));
        for call in calls {
            let written = call.await.expect("joined");
            assert!(written.is_err_and(|error| error.is_in_doubt()));
        }
        assert_eq!(bench.groups(), [[1, IN_DOUBT]]);
    }

    #[tokio::test]
    async fn a_statement_that_takes_long_keeps_nobody() {
        let bench = Bench::with(0, Duration::ZERO);
        let slow = bench.write(1);
        bench.until_sent(1).await;
        let other = bench.write(2);
        bench.until_sent(2).await;
        assert_eq!(bench.groups(), [[1], [2]]);
        bench.fake.answers.add_permits(2);
        slow.await.expect("joined").expect("written");
        other.await.expect("joined").expect("written");
    }

    #[tokio::test]
    async fn what_its_caller_left_before_it_was_sent_is_not_written() {
        let bench = Bench::new(0);
        let first = bench.write(1);
        bench.until_sent(1).await;
        let left = bench.write(2);
        yield_now().await;
        left.abort();
        let kept = bench.write(3);
        yield_now().await;
        bench.fake.answers.add_permits(2);
        first.await.expect("joined").expect("written");
        kept.await.expect("joined").expect("written");
        assert_eq!(bench.groups(), [[1], [3]]);
    }
}
