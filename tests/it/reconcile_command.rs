//! `alipayhk-gateway reconcile`, as finance runs it: what it prints, what it writes, how it ends.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    reconciliation::Desk,
    support::{
        PARTNER,
        http::body,
        program::{Stage, gateway_command},
    },
};

/// How a run ended: its status, and what it said.
struct Run {
    status: Option<i32>,
    out: String,
    error: String,
}

async fn run(stage: &Stage, arguments: &[&str]) -> Run {
    let arguments = [&["reconcile"], arguments].concat();
    let output = gateway_command(&arguments, &stage.settings())
        .output()
        .await
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run {
        status: output.status.code(),
        out: text(output.stdout),
        error: text(output.stderr),
    }
}

/// The simulator's transaction file of a day, laid down under its name at Alipay.
async fn file_of(stage: &Stage, desk: &Desk, day: &str) -> PathBuf {
    let bytes = stage.simulator.daily_file("transaction", day).await;
    desk.put("transaction", day, &bytes.expect("a file"));
    desk.path(&format!("{PARTNER}_transaction_{day}.txt"))
}

#[sqlx::test]
async fn it_ends_with_0_where_all_agrees_2_for_differences_and_1_for_errors(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let program = stage.gateway(&[]).await;
    let till = stage.till(&program);
    let paid = till.create("one", &body("0001"), 20).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"));
    let day = paid.body["business_date"]
        .as_str()
        .expect("a day")
        .replace('-', "");
    program.stop().await;
    let desk = Desk::new();
    let file = file_of(&stage, &desk, &day).await;
    let name = file.to_str().expect("text").to_owned();

    let agrees = run(&stage, &[&name]).await;
    assert_eq!(agrees.status, Some(0), "{} {}", agrees.out, agrees.error);
    assert!(
        agrees.out.contains("1 rows, 1 agree with the books"),
        "{}",
        agrees.out
    );
    assert!(agrees.out.contains("all agrees (rec_"), "{}", agrees.out);
    // Not a terminal: no line is drawn over itself.
    assert!(!agrees.error.contains('\r') && !agrees.out.contains('\r'));

    // The same again is the same result.
    let again = run(&stage, &["--json", &name]).await;
    let told: Value = serde_json::from_str(&again.out).expect("one line of JSON");
    assert_eq!((again.status, &told["replayed"]), (Some(0), &json!(true)));
    assert_eq!(told["files"][0]["version"], 1);

    // A changed file is a new version; a dry run of it changes nothing.
    let plant = json!({"type": "extra_payment", "id": "=STRANGER", "amount_minor": 900});
    stage.simulator.plant("transaction", &day, &plant).await;
    file_of(&stage, &desk, &day).await;
    let (sheet, page) = (desk.path("out.csv"), desk.path("out.html"));
    let out = [
        "--csv",
        sheet.to_str().expect("text"),
        "--html",
        page.to_str().expect("text"),
    ];
    let tried = run(&stage, &[&["--dry-run"][..], &out, &[&name]].concat()).await;
    assert_eq!(tried.status, Some(2), "{} {}", tried.out, tried.error);
    assert!(
        tried.out.contains("1 differences; nothing was changed"),
        "{}",
        tried.out
    );
    let files = "select count(*) from statement_file";
    let files: i64 = sqlx::query_scalar(files)
        .fetch_one(&stage.pool)
        .await
        .expect("a count");
    assert_eq!(files, 1);
    let dry_sheet = fs::read_to_string(&sheet).expect("the sheet");
    assert!(
        dry_sheet.contains("unknown_to_us") && dry_sheet.contains("'=STRANGER"),
        "{dry_sheet}"
    );
    let dry_page = fs::read_to_string(&page).expect("the page");
    assert!(
        dry_page.contains("A dry run: nothing was stored or changed."),
        "{dry_page}"
    );

    let differs = run(&stage, &[&out[..], &["--json", &name]].concat()).await;
    assert_eq!(differs.status, Some(2), "{} {}", differs.out, differs.error);
    let told: Value = serde_json::from_str(&differs.out).expect("one line of JSON");
    assert_eq!(told["differences"], json!({"unknown_to_us": 1}));
    assert_eq!(
        (&told["agrees"], &told["open_differences"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(told["files"][0]["version"], 2);
    assert_eq!(
        fs::read_to_string(&sheet)
            .expect("the sheet")
            .lines()
            .count(),
        2
    );
    let page = fs::read_to_string(&page).expect("the page");
    assert!(
        page.contains("1 differences are open") && page.contains("=STRANGER"),
        "{page}"
    );

    // What cannot be done is said in one line, and stores nothing.
    let nonsense = desk.path("2088000000000001_transaction_20260102.txt");
    fs::write(&nonsense, "hello\n").expect("a file");
    for (arguments, words) in [
        (
            vec![nonsense.to_str().expect("text")],
            "2088000000000001_transaction_20260102.txt: ",
        ),
        (
            vec!["/no/such/file.txt"],
            "file.txt: the file cannot be read",
        ),
        (
            vec![name.as_str(), name.as_str()],
            "two of the files are of the same kind and day",
        ),
    ] {
        let refused = run(&stage, &arguments).await;
        assert_eq!(refused.status, Some(1), "{arguments:?}: {}", refused.out);
        assert!(
            refused.error.contains(words),
            "{arguments:?}: {}",
            refused.error
        );
    }
    stage.close().await;
}
