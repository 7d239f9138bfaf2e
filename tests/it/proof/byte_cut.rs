//! The pay answer cut after every byte: no part of an answer is ever believed, and each payment
//! settles to the truth by a whole one (V2, S3, S9).

use serde_json::json;
use sqlx::PgPool;

use super::driver::{Ear, finish_clean, points, settle};
use crate::support::{World, http::body};

/// An answer is about 2,000 bytes long; beyond its end the fault cuts nothing.
const LONGEST: usize = 4_000;

/// Cuts every answer to one code at each of the byte offsets that leave `remainder` on division by
/// `parts`, so that several tests share the work.
async fn cut(pool: PgPool, code: &str, part: usize, parts: usize) {
    let mut world = World::start(pool).await;
    let mut ear = Ear::default();
    let mut whole = 0;
    for bytes in (part..LONGEST).step_by(parts) {
        let fault = json!({"type": "truncate", "bytes": bytes});
        world.simulator.script("pay", 1, fault).await;
        let key = format!("cut-{bytes}");
        let request = body(code);
        let answer = world.till.create(&key, &request, 0).await;
        ear.create(0, &key, true, &answer);
        world.settle_calls().await;
        // The replay shows what has become of it.
        let answer = world.till.create(&key, &request, 0).await;
        ear.create(0, &key, true, &answer);
        if answer.body["outcome_certainty"] == "final" {
            // Nothing was cut off.
            whole += 1;
            if whole == 3 {
                break;
            }
            continue;
        }
        assert_eq!(
            whole, 0,
            "an answer cut at {bytes} is not read, a shorter one was"
        );
        assert_eq!(
            answer.body["status"], "processing",
            "cut at {bytes}: {answer:?}"
        );
        assert_eq!(answer.body["outcome_certainty"], "unknown", "{answer:?}");
    }
    assert!(whole > 0, "the answer is shorter than {LONGEST} bytes");
    settle(&mut world).await;
    assert!(points(&world, 0).hits()["query.after_call"] > 0);
    finish_clean(world, &ear).await;
}

#[sqlx::test]
async fn v2_a_success_cut_at_an_even_byte_is_not_believed(pool: PgPool) {
    cut(pool, "0001", 0, 2).await;
}

#[sqlx::test]
async fn v2_a_success_cut_at_an_odd_byte_is_not_believed(pool: PgPool) {
    cut(pool, "0001", 1, 2).await;
}

/// A refusal has the same frame: a sample of its cuts suffices.
#[sqlx::test]
async fn s3_a_refusal_that_was_cut_is_not_believed(pool: PgPool) {
    cut(pool, "1001", 3, 5).await;
}
