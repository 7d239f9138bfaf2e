//! `alipayhk-gateway api-key create`, `list`, `revoke` and `rotate`.

use std::fmt::Write as _;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Report, instant, json_line, somebody};
use crate::{
    app::access::api_keys::{self, MadeApiKey},
    config::{ApiKeyConfig, DatabaseConfig, process_environment, variables},
    db::Db,
    domain::{
        access::{
            api_key::{
                ApiKey, ApiKeyFilter, MAX_NAME, MAX_OVERLAP_SECONDS, NewApiKey, Rotated, Rotation,
            },
            principal::{Scope, TenantScope},
        },
        id::{ApiKeyId, MerchantId},
        text::is_deceptive,
    },
    startup::{connect, secret_key},
};

/// How many keys are read at once.
const PAGE: u16 = 200;

/// `alipayhk-gateway api-key ...`
#[derive(Debug, clap::Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key; it is printed once, as the last line, and stored only as a hash
    #[command(after_long_help = variables::help())]
    Create(CreateArgs),
    /// List the keys, newest first: everything but the keys themselves
    #[command(after_long_help = variables::help())]
    List(ListArgs),
    /// Refuse a key from now on, for good; running gateways follow within ten seconds
    #[command(after_long_help = variables::help())]
    Revoke(RevokeArgs),
    /// Make a key in the place of another, which is accepted for a while longer; the new one is printed
    /// once, as the last line
    #[command(after_long_help = variables::help())]
    Rotate(RotateArgs),
}

/// A key to be made.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// What people call it, for example till-1
    #[arg(long)]
    name: String,
    /// What it may do, separated by commas: payments:write, payments:read, refunds:write,
    /// operations, reconciliation, admin; support:read of the operator's
    #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// The merchant it belongs to; the default merchant where it is left out
    #[arg(long, value_name = "MERCHANT_ID", conflicts_with = "operator")]
    merchant: Option<MerchantId>,
    /// It belongs to the operator, who sees every merchant; such a key may carry operations,
    /// reconciliation, admin and support:read
    #[arg(long)]
    operator: bool,
    /// From when on it is refused, for example 2027-11-22T04:00:00Z; never where it is left out
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<DateTime<Utc>>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Which keys to list.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those of this merchant
    #[arg(long, value_name = "MERCHANT_ID")]
    merchant: Option<MerchantId>,
    /// Only those that are accepted
    #[arg(long)]
    active: bool,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Which key to revoke.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its id, as `api-key list` shows it
    #[arg(value_name = "KEY_ID")]
    id: ApiKeyId,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Which key to replace.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Its id, as `api-key list` shows it
    #[arg(value_name = "KEY_ID")]
    id: ApiKeyId,
    /// For how many seconds the old key is still accepted
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(i64).range(0..=MAX_OVERLAP_SECONDS))]
    overlap_seconds: i64,
    /// From when on the new key is refused; never where it is left out
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<DateTime<Utc>>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::from_name(name).ok_or_else(|| "no such scope".to_owned())
}

/// Runs the command.
pub async fn run(command: ApiKeyCommand) -> anyhow::Result<Report> {
    match command {
        ApiKeyCommand::Create(args) => create(args).await,
        ApiKeyCommand::List(args) => list(&args).await,
        ApiKeyCommand::Revoke(args) => revoke(&args).await,
        ApiKeyCommand::Rotate(args) => rotate(&args).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<Report> {
    let named = (1..=MAX_NAME).contains(&args.name.trim().chars().count())
        && !args.name.chars().any(is_deceptive);
    ensure!(
        named,
        "the name must have 1 to {MAX_NAME} characters and no control characters"
    );
    if args.operator {
        check_reach(TenantScope::Operator, &args.scopes)?;
    }
    let config = ApiKeyConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let tenant_scope = owner(&args, &db).await?;
    check_reach(tenant_scope, &args.scopes)?;
    let new = NewApiKey {
        tenant_scope,
        name: args.name.trim().to_owned(),
        scopes: args.scopes,
        expires_at: args.expires_at,
    };
    let secret = secret_key(&config.secret_key)?;
    let made = api_keys::create(&db, &secret, &new, &somebody())
        .await
        .context("the API key could not be stored")?;
    db.close().await;
    Ok(handed_out(&made, args.json))
}

fn check_reach(tenant_scope: TenantScope, scopes: &[Scope]) -> anyhow::Result<()> {
    let out_of_reach: Vec<&str> = Scope::out_of_reach(tenant_scope, scopes)
        .iter()
        .map(|scope| scope.as_str())
        .collect();
    let (whose, why) = match tenant_scope {
        TenantScope::Operator => (
            "the operator",
            "payments and refunds are made with a merchant's key",
        ),
        TenantScope::Merchant(_) => (
            "a merchant",
            "only the operator reads those of all merchants",
        ),
    };
    ensure!(
        out_of_reach.is_empty(),
        "a key of {whose} cannot carry {}: {why}",
        out_of_reach.join(", ")
    );
    Ok(())
}

async fn owner(args: &CreateArgs, db: &Db) -> anyhow::Result<TenantScope> {
    if args.operator {
        return Ok(TenantScope::Operator);
    }
    if let Some(id) = args.merchant {
        return Ok(TenantScope::Merchant(id));
    }
    let id = db
        .default_merchant()
        .await
        .context("the default merchant could not be looked up")?
        .context("there is no merchant yet: run `alipayhk-gateway migrate` first")?;
    Ok(TenantScope::Merchant(id))
}

async fn list(args: &ListArgs) -> anyhow::Result<Report> {
    let config = DatabaseConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let filter = ApiKeyFilter {
        merchant_id: args.merchant,
        active: args.active.then_some(true),
    };
    let mut text = String::new();
    let mut after = None;
    loop {
        let keys = db
            .list_api_keys(TenantScope::Operator, filter, after, PAGE)
            .await
            .context("the API keys could not be read")?;
        let more = keys.len() > usize::from(PAGE);
        for key in keys.iter().take(usize::from(PAGE)) {
            text.push_str(&if args.json {
                json_line(&as_json(key))
            } else {
                in_words(key)
            });
            after = Some(key.id);
        }
        if !more {
            break;
        }
    }
    db.close().await;
    if text.is_empty() && !args.json {
        text.push_str("there are no such API keys\n");
    }
    Ok(Report::good(text))
}

async fn revoke(args: &RevokeArgs) -> anyhow::Result<Report> {
    let config = DatabaseConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let key = db
        .revoke_api_key(TenantScope::Operator, args.id, &somebody())
        .await
        .context("the API key could not be revoked")?
        .with_context(|| format!("there is no API key {}", args.id))?;
    db.close().await;
    Ok(Report::good(if args.json {
        json_line(&as_json(&key))
    } else {
        in_words(&key)
    }))
}

async fn rotate(args: &RotateArgs) -> anyhow::Result<Report> {
    let config = ApiKeyConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let secret = secret_key(&config.secret_key)?;
    let rotation = Rotation {
        overlap_seconds: args.overlap_seconds,
        expires_at: args.expires_at,
    };
    let old = (TenantScope::Operator, args.id);
    let replaced = api_keys::rotate(&db, &secret, old, rotation, &somebody())
        .await
        .context("the API key could not be replaced")?;
    db.close().await;
    match replaced {
        Rotated::Made(made) => Ok(handed_out(&made, args.json)),
        Rotated::NotActive => bail!(
            "{} is expired or revoked, or no key but a subject of access tokens, so nothing can \
             overlap; make a new key",
            args.id
        ),
        Rotated::Missing => bail!("there is no API key {}", args.id),
    }
}

fn handed_out(made: &MadeApiKey, json: bool) -> Report {
    Report::good(if json {
        let mut value = as_json(&made.api_key);
        value["key"] = json!(made.key());
        json_line(&value)
    } else {
        format!("{}\n", made.key())
    })
}

fn as_json(key: &ApiKey) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({
        "id": key.id.to_string(),
        "merchant_id": key.tenant_scope.merchant_id().map(|id| id.to_string()),
        "name": key.name,
        "prefix": key.prefix,
        "issuer": key.subject.as_ref().map(|of| &of.issuer),
        "subject": key.subject.as_ref().map(|of| &of.subject),
        "scopes": scopes,
        "status": key.status.as_str(),
        "created_at": instant(key.created_at),
        "expires_at": key.expires_at.map(instant),
        "revoked_at": key.revoked_at.map(instant),
        "last_used_at": key.last_used_at.map(instant),
        "replaces": key.replaces.map(|id| id.to_string()),
    })
}

/// A key in one line.
fn in_words(key: &ApiKey) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let owner = key
        .tenant_scope
        .merchant_id()
        .map_or_else(|| "operator".to_owned(), |id| id.to_string());
    let mut line = format!(
        "{}  {:<8} {}  {:<16} {}  {}",
        key.id,
        key.status.as_str(),
        owner,
        key.name,
        key.prefix.as_deref().unwrap_or("-"),
        scopes.join(",")
    );
    let mut say = |what: &str, at: Option<DateTime<Utc>>| {
        if let Some(at) = at {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {what} {}", instant(at));
        }
    };
    say("expires", key.expires_at);
    say("revoked", key.revoked_at);
    say("last used", key.last_used_at);
    line + "\n"
}
