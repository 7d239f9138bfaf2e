//! Two database roles (`docs/invariants.md` Q16): the service's may do what the service does and no
//! more, and `migrate` sees to it. Every other test of a gateway runs as that role too.

mod statements;

use std::collections::{BTreeMap, BTreeSet};

use alipayhk_gateway::db::privileges::{TABLES, Table};
use sqlx::{ConnectOptions as _, PgPool, postgres::PgPoolOptions};
use tokio::process::Command;

use crate::support::{
    World,
    roles::{SERVICE_ROLE, as_owner, as_service},
};
use statements::Writes;

/// Where the decisions are.
const LIST: &str = "src/db/privileges.rs";

fn declared() -> BTreeMap<String, Writes> {
    let writes = |table: &Table| Writes {
        insert: table.insert,
        delete: table.delete,
        update: table.update.iter().map(|&c| c.to_owned()).collect(),
    };
    let tables = TABLES.iter();
    tables
        .map(|table| (table.name.to_owned(), writes(table)))
        .collect()
}

#[sqlx::test]
async fn q16_every_table_has_its_decision(pool: PgPool) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S', 'f')
        order by relname",
    )
    .fetch_all(&pool)
    .await
    .expect("the database answers");
    let declared = declared();
    for table in &tables {
        assert!(
            declared.contains_key(table),
            "{LIST} says nothing of the table {table:?}: add a line to TABLES that says what the service may do \
             with it (Table::read, Table::append, Table::change, and_delete)"
        );
    }
    for (table, writes) in &declared {
        assert!(
            tables.contains(table),
            "{LIST} speaks of {table:?}, which is not there"
        );
        let columns: BTreeSet<String> = sqlx::query_scalar::<_, String>(
            "select column_name::text from information_schema.columns
            where table_schema = 'public' and table_name = $1",
        )
        .bind(table)
        .fetch_all(&pool)
        .await
        .expect("the database answers")
        .into_iter()
        .collect();
        let unknown: Vec<_> = writes.update.difference(&columns).collect();
        assert!(
            unknown.is_empty(),
            "{LIST} speaks of columns of {table:?} that are not there: {unknown:?}"
        );
    }
}

/// What `migrate` does as the owner.
fn is_the_owners(statement: &str) -> bool {
    statement.contains("on conflict (is_default)")
}

#[test]
fn q16_the_service_may_write_what_its_statements_write_and_no_more() {
    let written = statements::writes(|statement| !is_the_owners(statement));
    let mut faults = vec![];
    for (table, declared) in declared() {
        let none = Writes::default();
        let written = written.get(&table).unwrap_or(&none);
        for column in written.update.difference(&declared.update) {
            faults.push(format!("{table}.{column} is updated and may not be"));
        }
        for column in declared.update.difference(&written.update) {
            faults.push(format!("{table}.{column} may be updated and never is"));
        }
        for (what, written, declared) in [
            ("inserted into", written.insert, declared.insert),
            ("deleted from", written.delete, declared.delete),
        ] {
            match (written, declared) {
                (true, false) => faults.push(format!("{table} is {what} and may not be")),
                (false, true) => faults.push(format!("{table} may be {what} and never is")),
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "{LIST}:\n{}", faults.join("\n"));
}

/// Triggers that write what the service may not.
const AS_OWNER: &[&str] = &["audit_log_chain"];

/// A trigger or function that finds its tables by the caller's search path could be shown others.
#[sqlx::test]
async fn q16_functions_find_only_our_tables_and_few_run_as_the_owner(pool: PgPool) {
    let functions: Vec<(String, bool, bool, String, Vec<String>)> = sqlx::query_as(
        "select proname::text, prosecdef, prorettype = 'trigger'::regtype, lanname::text,
            coalesce(proconfig, '{}')
        from pg_proc join pg_language on pg_language.oid = prolang
        where pronamespace = 'public'::regnamespace",
    )
    .fetch_all(&pool)
    .await
    .expect("the database answers");
    assert!(functions.len() > 3, "{functions:?}");
    for (name, definer, is_trigger, language, settings) in functions {
        assert!(
            !definer || (is_trigger && AS_OWNER.contains(&name.as_str())),
            "{name} is `security definer`: it would do for the service what the service may not"
        );
        // A function of one SQL expression is inlined, and would not be with a path of its own.
        let fixed = settings.contains(&"search_path=public, pg_temp".to_owned());
        assert!(
            fixed || (language == "sql" && !definer),
            "{name} has no fixed search path: add `set search_path = public, pg_temp`"
        );
    }
}

/// The SQLSTATE of a refusal; `None` where the statement passes, which is then undone.
async fn sqlstate(pool: &PgPool, sql: &str) -> Option<String> {
    let mut transaction = pool.begin().await.expect("a transaction");
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await;
    transaction.rollback().await.expect("the try is undone");
    match done {
        Ok(_) => None,
        Err(sqlx::Error::Database(error)) => error.code().map(Into::into),
        Err(other) => panic!("{sql}: {other}"),
    }
}

const DENIED: Option<&str> = Some("42501");

#[sqlx::test]
async fn q16_the_service_changes_no_schema_and_removes_no_record(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    world.pay("0001").await;
    let service = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(world.connect.clone());
    let mut statements: Vec<String> = [
        // The schema.
        "create table mine (a int)",
        "create temporary table payment_legal_move (from_status text, to_status text)",
        "create schema mine",
        "create function mine() returns int language sql as 'select 1'",
        "create or replace function db_now() returns timestamptz language sql as 'select now()'",
        "create index mine on payment (status)",
        "create trigger mine before update on payment for each row execute function refuse_change()",
        "alter table payment disable trigger payment_guard",
        "alter table payment drop constraint payment_amount_check",
        "alter table payment add column mine int",
        "alter function payment_guard() reset search_path",
        "drop trigger payment_guard on payment",
        "drop table follow_up",
        "drop function payment_guard() cascade",
        "comment on table payment is 'mine'",
        // What ownership would give.
        "set session_replication_role = replica",
        "alter table payment owner to current_user",
        "copy payment to program 'cat'",
        // What `migrate` did.
        "insert into _sqlx_migrations select * from _sqlx_migrations limit 0",
        "update _sqlx_migrations set success = false",
        "delete from _sqlx_migrations",
        // What a payment and a refund are.
        "update payment set amount_minor = 1",
        "update payment set partner_trans_id = 'P'",
        "update payment set merchant_reference = 'R'",
        "update payment set merchant_id = gen_random_uuid()",
        "update payment set created_at = now()",
        "update payment set barcode_hint = '1'",
        "update refund set amount_minor = 1",
        "update refund set partner_refund_id = 'R'",
        "update attempt set kind = 'query'",
        "update attempt set sent_at = now()",
        "update follow_up set subject_id = gen_random_uuid()",
        "update payment_legal_move set to_status = from_status",
        "update audit_head set entries = 0",
        "update audit_log set hash = previous_hash",
        // An entry's place in the chain.
        "insert into audit_log (entry_no, action, subject_kind, subject_id, by) values (7, 'a', 'b', 'c', '{}')",
        "insert into audit_log (at, action, subject_kind, subject_id, by) values (now(), 'a', 'b', 'c', '{}')",
        "insert into audit_log (hash, action, subject_kind, subject_id, by) values ('\\x00', 'a', 'b', 'c', '{}')",
        "update api_key set scopes = '{admin}'",
        "update api_key set merchant_id = null",
        "insert into payment_legal_move values ('failed', 'succeeded')",
        "insert into refund_legal_move values ('failed', 'succeeded')",
    ]
    .map(str::to_owned)
    .into();
    for table in TABLES {
        let name = table.name;
        let is_view: bool =
            sqlx::query_scalar("select relkind = 'v' from pg_class where oid = $1::text::regclass")
                .bind(name)
                .fetch_one(&pool)
                .await
                .expect("it is there");
        if is_view {
            // Nobody can write to it.
            statements.push(format!("drop view {name} cascade"));
            continue;
        }
        statements.push(format!("truncate {name} cascade"));
        statements.push(format!("drop table {name} cascade"));
        if !table.delete {
            statements.push(format!("delete from {name}"));
        }
        if table.update.is_empty() {
            let column: String = sqlx::query_scalar(
                "select attname::text from pg_attribute
                where attrelid = $1::text::regclass and attnum = 1",
            )
            .bind(name)
            .fetch_one(&pool)
            .await
            .expect("a first column");
            statements.push(format!("update {name} set {column} = {column}"));
        }
        if !table.insert {
            statements.push(format!("insert into {name} select * from {name} limit 0"));
        }
    }
    for sql in statements {
        assert_eq!(sqlstate(&service, &sql).await.as_deref(), DENIED, "{sql}");
    }
    // The same eyes see a statement that is allowed.
    let allowed = "update payment set version = version + 1, updated_at = db_now()";
    assert_eq!(sqlstate(&service, allowed).await, None);
    assert_eq!(
        sqlstate(&service, "delete from follow_up").await,
        None,
        "the schedule is no record"
    );
    service.close().await;
    world.finish().await;
}

/// Names of the roles of one test, dropped at its end.
struct Owner {
    role: String,
    url: String,
    service_url: String,
}

const OWNERS_PASSWORD: &str = "it-owner-hunter2";

impl Owner {
    /// An owner that is no superuser, of a database that is empty.
    async fn of(pool: &PgPool, service_url: String) -> Self {
        let connect = pool.connect_options();
        let database = connect.get_database().expect("a database");
        let role = format!("it_owner_{}", uuid::Uuid::now_v7().simple());
        run(
            pool,
            &format!("create role {role} login password '{OWNERS_PASSWORD}'"),
        )
        .await;
        run(
            pool,
            &format!("alter database \"{database}\" owner to {role}"),
        )
        .await;
        // Before Postgres 15 the schema belongs to the superuser.
        run(pool, &format!("alter schema public owner to {role}")).await;
        let url = (*connect)
            .clone()
            .username(&role)
            .password(OWNERS_PASSWORD)
            .to_url_lossy()
            .to_string();
        Self {
            role,
            url,
            service_url,
        }
    }

    async fn migrate(&self, urls: &[(&str, &str)]) -> std::process::Output {
        let command = Command::new(env!("CARGO_BIN_EXE_alipayhk-gateway"))
            .arg("migrate")
            .env_clear()
            .envs(urls.iter().copied())
            .env("ALIPAY_PARTNER", "2088000000000001")
            .env("SECONDARY_MERCHANT_ID", "SM001")
            .env("SECONDARY_MERCHANT_NAME", "Demo Cafe Ltd")
            .env("SECONDARY_MERCHANT_INDUSTRY", "5812")
            .env("STORE_NAME", "Demo Cafe Central")
            .output()
            .await;
        let output = command.expect("the program runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("hunter2"), "a password is shown: {text}");
        output
    }

    async fn drop(self, pool: &PgPool) {
        run(
            pool,
            &format!("reassign owned by {} to current_user", self.role),
        )
        .await;
        run(pool, &format!("drop owned by {}", self.role)).await;
        run(pool, &format!("drop role {}", self.role)).await;
    }
}

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The URL of the service's role in a database in which nothing was granted to it.
async fn service_url(pool: &PgPool, granted_in: &PgPool) -> String {
    let service = as_service(granted_in).await;
    let connect = pool.connect_options();
    let database = connect.get_database().expect("a database");
    service.database(database).to_url_lossy().to_string()
}

/// How often the log says what, at which level.
fn count(output: &std::process::Output, level: &str, text: &str) -> usize {
    let log = String::from_utf8_lossy(&output.stderr);
    let lines = log.lines();
    lines
        .filter(|line| line.contains(&format!("\"level\":\"{level}\"")) && line.contains(text))
        .count()
}

#[sqlx::test]
async fn q16_migrate_as_the_owner_grants_what_the_list_says_and_changes_nothing_when_run_again(
    pool: PgPool,
) {
    let service_url = {
        // Makes the role; what it was granted is taken away with the schema.
        let url = service_url(&pool, &pool).await;
        run(&pool, "drop schema public cascade; create schema public").await;
        url
    };
    let owner = Owner::of(&pool, service_url).await;
    let urls = [
        ("MIGRATE_DATABASE_URL", owner.url.as_str()),
        ("DATABASE_URL", owner.service_url.as_str()),
    ];
    let mut seen = vec![];
    for _ in 0..2 {
        let output = owner.migrate(&urls).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(count(&output, "WARN", "service's role"), 0, "{output:?}");
        seen.push(granted(&pool).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], declared());
    let unknown = owner
        .migrate(&[
            ("MIGRATE_DATABASE_URL", &owner.url),
            (
                "DATABASE_URL",
                &owner
                    .service_url
                    .replace(SERVICE_ROLE, "nobody_of_this_name"),
            ),
        ])
        .await;
    let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        !unknown.status.success() && text.contains("nobody_of_this_name"),
        "{text}"
    );
    owner.drop(&pool).await;
}

#[sqlx::test]
async fn q16_migrate_with_one_role_works_and_says_once_what_that_means(pool: PgPool) {
    let service = service_url(&pool, &pool).await;
    run(&pool, "drop schema public cascade; create schema public").await;
    let owner = Owner::of(&pool, service).await;
    let output = owner.migrate(&[("DATABASE_URL", &owner.url)]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        count(&output, "WARN", "MIGRATE_DATABASE_URL"),
        1,
        "{output:?}"
    );
    owner.drop(&pool).await;
}

#[sqlx::test]
async fn migrate_refuses_a_database_from_before_the_baseline_in_one_line(pool: PgPool) {
    let service = service_url(&pool, &pool).await;
    run(
        &pool,
        "delete from _sqlx_migrations;
        insert into _sqlx_migrations (version, description, success, checksum, execution_time) values
            (1, 'payments', true, 'old', 0), (50, 'cancels that may act', true, 'old', 0);
        grant select on _sqlx_migrations to public",
    )
    .await;
    let owner = Owner::of(&pool, service).await;
    let output = owner
        .migrate(&[
            ("MIGRATE_DATABASE_URL", &owner.url),
            ("DATABASE_URL", &owner.service_url),
        ])
        .await;
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = text.lines().filter(|l| l.contains("database")).collect();
    assert!(
        said.len() == 1 && said[0].contains("drop it, create it empty and run migrate again"),
        "{text}"
    );
    // The service does not take it for a newer schema either.
    let db = as_owner(&pool);
    assert!(!db.is_migrated().await.expect("the server answers"));
    db.close().await;
    owner.drop(&pool).await;
}

/// What the service's role was granted, as the catalogue has it.
async fn granted(pool: &PgPool) -> BTreeMap<String, Writes> {
    let tables: Vec<(String, bool, bool, bool)> = sqlx::query_as(
        "select relname::text, has_any_column_privilege($1, oid, 'insert'), has_table_privilege($1, oid, 'delete'),
            has_table_privilege($1, oid, 'update, truncate, references, trigger')
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')
            and has_table_privilege($1, oid, 'select')",
    )
    .bind(SERVICE_ROLE)
    .fetch_all(pool)
    .await
    .expect("the database answers");
    let mut granted = BTreeMap::new();
    for (table, insert, delete, more) in tables {
        assert!(!more, "{table}: more than single columns");
        let columns: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute
            where attrelid = ('public.' || quote_ident($2))::regclass and attnum > 0 and not attisdropped
                and has_column_privilege($1, attrelid, attnum, 'update')",
        )
        .bind(SERVICE_ROLE)
        .bind(&table)
        .fetch_all(pool)
        .await
        .expect("the database answers");
        let update = columns.into_iter().collect();
        granted.insert(
            table,
            Writes {
                insert,
                delete,
                update,
            },
        );
    }
    granted
}
