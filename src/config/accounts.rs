//! Alipay accounts: one by the environment, or several by a TOML file.
//!
//! ```toml
//! [[account]]
//! partner = "2088000000000017"
//! endpoint = "https://intlmapi.alipay.com/gateway.do"
//! sign_type = "RSA2"                      # RSA2 (default), RSA or MD5
//! refund_batch_opens = "23:00"            # these three: the default is the variable of that name
//! refund_batch_closes = "05:00"
//! refund_give_up_days = 180
//!
//! [[account.private_key]]                 # ours; for MD5: [[account.md5_key]]
//! file = "2026.pem"                       # relative to this file
//! not_after = 2027-01-01T00:00:00+08:00   # both may be left out
//!
//! [[account.private_key]]
//! file = "2027.pem"
//! not_before = 2027-01-01T00:00:00+08:00
//!
//! [[account.alipay_public_key]]
//! file = "alipay.pem"
//!
//! [account.limits]                        # in cents; all may be left out; a merchant may have its own
//! max_payment_minor = 500000
//! max_refund_minor = 500000
//! max_refunded_per_day_minor = 5000000
//! largest_refund_minor = 999999999        # most that Alipay gives back in one piece (the default); no payment may be larger
//!
//! [account.reconciliation]                # the contract; the defaults are the variables RECONCILIATION_...
//! fee_basis_points = 80
//! fee_tolerance_minor = 1
//! fee_of_refunds = "returned"             # or "kept"
//! settled_within_days = 5
//!
//! [account.sftp]                          # where Alipay lays its daily files; none are fetched without it
//! host = "isftp.alipay.com"
//! port = 22                               # may be left out
//! user = "2088000000000017"
//! password_file = "sftp-password"         # or private_key_file, and passphrase_file where it is encrypted
//! host_keys = ["SHA256:..."]              # or public-key lines; several while the server changes its key
//! directories = ["/download/", "/"]       # from here on: the default is the SFTP_ variable of that name
//! first = "10:15"
//! last = "18:00"
//! interval_minutes = 60
//! look_back_days = 6
//! ```

use std::{collections::HashSet, fs, path::Path};

use chrono::TimeDelta;
use toml::Table;
use url::Url;

use super::{
    forms::{is_partner, time_of_day},
    read::{NO_QUERY, Reader, is_endpoint, is_plain_http},
    sftp::{self, Sftp, SftpHabits},
    table::Members,
};
use crate::domain::{
    accounts::signing::{KeyFile, SignType, Validity},
    calendar::BatchHours,
    merchants::limits::Limits,
    money::Money,
    reconciliation::{FeeOfRefunds, Rules},
    refunds::plan::RefundPlan,
};

const FILE: &str = "ALIPAY_ACCOUNTS_FILE";
/// What the file says in the place of these.
const OF_ONE_ACCOUNT: [&str; 5] = [
    "ALIPAY_ENDPOINT",
    "ALIPAY_SIGN_TYPE",
    "ALIPAY_PRIVATE_KEY_FILE",
    "ALIPAY_PUBLIC_KEY_FILE",
    "ALIPAY_MD5_KEY_FILE",
];

/// One Alipay account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub endpoint: Url,
    /// The account: 16 digits.
    pub partner: String,
    pub sign_type: SignType,
    /// Our private keys, or the shared keys of `MD5`.
    pub own_keys: Vec<KeyFile>,
    /// Alipay's public keys; none with `MD5`.
    pub alipays_keys: Vec<KeyFile>,
    /// When its asynchronous refunds are done.
    pub refund_plan: RefundPlan,
    /// What its merchants may do where they have no limits of their own.
    pub limits: Limits,
    /// How its daily files are compared with the books.
    pub rules: Rules,
    /// Where its daily files are fetched, if anywhere.
    pub sftp: Option<Sftp>,
}

/// The account of the environment: the only one, or the one of the first merchant.
pub(super) fn partner(reader: &mut Reader) -> Option<String> {
    let form = "16 digits that begin with 2088 or 2160";
    reader.matching("ALIPAY_PARTNER", form, is_partner)
}

/// The limits of an account that names none: what Alipay's page says of refunds, and no others.
const DEFAULT_LIMITS: Limits = Limits {
    max_payment_minor: None,
    max_refund_minor: None,
    max_refunded_per_day_minor: None,
    largest_refund_minor: Some(Money::MAX_REFUND_MINOR),
};

/// Reads the accounts: of the file where one is named, else the one of the environment.
pub(super) fn read(
    reader: &mut Reader,
    refund_plan: Option<RefundPlan>,
    rules: Option<Rules>,
) -> Option<Vec<Account>> {
    let habits = SftpHabits::read(reader);
    if reader.optional(FILE).is_none() {
        let sftp = sftp::read(reader, habits.as_ref());
        let endpoint = reader.endpoint("ALIPAY_ENDPOINT");
        let partner = partner(reader);
        let sign_type: Option<SignType> = reader.parse("ALIPAY_SIGN_TYPE", "RSA2, RSA or MD5");
        let md5 = sign_type == Some(SignType::Md5);
        let mut key_file = |name, needed| {
            let file = if needed {
                reader.file(name)
            } else {
                reader.optional_file(name);
                None
            };
            file.map(KeyFile::always).into_iter().collect::<Vec<_>>()
        };
        let private = key_file("ALIPAY_PRIVATE_KEY_FILE", sign_type.is_some() && !md5);
        let public = key_file("ALIPAY_PUBLIC_KEY_FILE", sign_type.is_some() && !md5);
        let shared = key_file("ALIPAY_MD5_KEY_FILE", md5);
        return Some(vec![Account {
            endpoint: endpoint?,
            partner: partner?,
            sign_type: sign_type?,
            own_keys: if md5 { shared } else { private },
            alipays_keys: public,
            refund_plan: refund_plan?,
            limits: DEFAULT_LIMITS,
            rules: rules?,
            sftp,
        }]);
    }
    for name in OF_ONE_ACCOUNT.into_iter().chain(sftp::OF_ONE_ACCOUNT) {
        if reader.optional(name).is_some() {
            reader.fault::<()>(
                name,
                format!("must not be set beside {FILE}, which says it"),
            );
        }
    }
    let path = reader.file(FILE)?;
    let accounts = match fs::read_to_string(&path) {
        Ok(text) => parse(
            &text,
            path.parent().unwrap_or(Path::new(".")),
            (refund_plan?, rules?, &habits?),
        ),
        Err(error) => Err(vec![format!("cannot read {}: {error}", path.display())]),
    };
    match accounts {
        Ok(accounts) => Some(accounts),
        Err(faults) => {
            for fault in faults {
                reader.fault::<()>(FILE, fault);
            }
            None
        }
    }
}

/// Reads the text of the file; every fault in it is named at once. Key files are relative to `folder`.
pub(super) fn parse(
    text: &str,
    folder: &Path,
    defaults: (RefundPlan, Rules, &SftpHabits),
) -> Result<Vec<Account>, Vec<String>> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![format!("is not valid TOML: {}", error.message())]),
    };
    let mut faults = Vec::new();
    let mut file = Members::new(&table, String::new());
    let mut accounts = Vec::new();
    let mut partners = HashSet::new();
    for (at, table) in file.tables("account", &mut faults) {
        let account = account(table, &at, folder, defaults, &mut faults);
        if let Some(account) = account {
            if !partners.insert(account.partner.clone()) {
                faults.push(format!("{at}partner: {} is given twice", account.partner));
            }
            accounts.push(account);
        }
    }
    file.finish(&mut faults);
    if accounts.is_empty() && faults.is_empty() {
        faults.push("has no [[account]]".to_owned());
    }
    if faults.is_empty() {
        Ok(accounts)
    } else {
        Err(faults)
    }
}

fn account(
    table: &Table,
    at: &str,
    folder: &Path,
    (refund_plan, rules, habits): (RefundPlan, Rules, &SftpHabits),
    faults: &mut Vec<String>,
) -> Option<Account> {
    let mut members = Members::new(table, at.to_owned());
    let partner = members.text(
        "partner",
        faults,
        "must be 16 digits that begin with 2088 or 2160",
        |text| is_partner(text).then(|| text.to_owned()),
    );
    members.require("partner", faults);
    let endpoint = members.text(
        "endpoint",
        faults,
        "must be an http or https URL without user and password",
        |text| text.parse().ok().filter(is_plain_http),
    );
    members.require("endpoint", faults);
    let endpoint = endpoint.filter(|url: &Url| {
        let is_good = is_endpoint(url);
        if !is_good {
            members.fault("endpoint", NO_QUERY, faults);
        }
        is_good
    });
    let sign_type = members
        .text("sign_type", faults, "must be RSA2, RSA or MD5", |text| {
            text.parse().ok()
        })
        .unwrap_or(SignType::Rsa2);
    let md5 = sign_type == SignType::Md5;
    let mut keys = |name: &'static str, needed: bool, faults: &mut Vec<String>| {
        let files = key_files(&mut members, name, folder, faults);
        if needed && files.is_empty() && !members.table.contains_key(name) {
            faults.push(format!("{at}{name}: must be given for this sign_type"));
        }
        if !needed && members.table.contains_key(name) {
            faults.push(format!("{at}{name}: does not belong to this sign_type"));
        }
        files
    };
    let private = keys("private_key", !md5, faults);
    let public = keys("alipay_public_key", !md5, faults);
    let shared = keys("md5_key", md5, faults);
    let refund_plan = read_refund_plan(&mut members, refund_plan, faults);
    let limits = read_limits(&mut members, faults);
    let rules = read_rules(&mut members, rules, faults);
    let sftp = sftp::of_file(&mut members, folder, habits, faults);
    members.finish(faults);
    Some(Account {
        endpoint: endpoint?,
        partner: partner?,
        sign_type,
        own_keys: if md5 { shared } else { private },
        alipays_keys: public,
        refund_plan,
        limits,
        rules,
        sftp,
    })
}

fn key_files(
    members: &mut Members,
    name: &'static str,
    folder: &Path,
    faults: &mut Vec<String>,
) -> Vec<KeyFile> {
    let mut files = Vec::new();
    for (at, table) in members.tables(name, faults) {
        let mut key = Members::new(table, at.clone());
        let path = key.text("file", faults, "must be a path", |text| {
            Some(folder.join(text))
        });
        key.require("file", faults);
        let not_before = key.instant("not_before", faults);
        let not_after = key.instant("not_after", faults);
        if let (Some(from), Some(to)) = (not_before, not_after)
            && to <= from
        {
            faults.push(format!("{at}not_after: must be later than not_before"));
        }
        key.finish(faults);
        match path {
            Some(path) if path.is_file() => files.push(KeyFile {
                path,
                validity: Validity {
                    not_before,
                    not_after,
                },
            }),
            Some(path) => faults.push(format!("{at}file: no such file: {}", path.display())),
            None => {}
        }
    }
    files
}

fn read_refund_plan(
    members: &mut Members,
    default: RefundPlan,
    faults: &mut Vec<String>,
) -> RefundPlan {
    let detail = "must be a time of day such as \"23:00\"";
    let opens = members.text("refund_batch_opens", faults, detail, time_of_day);
    let closes = members.text("refund_batch_closes", faults, detail, time_of_day);
    let days = members.integer("refund_give_up_days", 1, 1_000, faults);
    let hours = BatchHours {
        opens: opens.unwrap_or(default.hours.opens),
        closes: closes.unwrap_or(default.hours.closes),
    };
    if hours.opens == hours.closes {
        let at = &members.at;
        faults.push(format!(
            "{at}refund_batch_closes: must differ from refund_batch_opens"
        ));
    }
    RefundPlan {
        hours,
        horizon: days.map_or(default.horizon, TimeDelta::days),
    }
}

fn read_limits(members: &mut Members, faults: &mut Vec<String>) -> Limits {
    let Some((at, table)) = members.table("limits", faults) else {
        return DEFAULT_LIMITS;
    };
    let mut limits = Members::new(table, at);
    let mut limit = |name| limits.integer(name, 1, Money::MAX_PAYMENT_MINOR, faults);
    let read = Limits {
        max_payment_minor: limit("max_payment_minor"),
        max_refund_minor: limit("max_refund_minor"),
        max_refunded_per_day_minor: limit("max_refunded_per_day_minor"),
        largest_refund_minor: limit("largest_refund_minor").or(DEFAULT_LIMITS.largest_refund_minor),
    };
    limits.finish(faults);
    read
}

fn read_rules(members: &mut Members, default: Rules, faults: &mut Vec<String>) -> Rules {
    let Some((at, table)) = members.table("reconciliation", faults) else {
        return default;
    };
    let mut rules = Members::new(table, at);
    let mut number = |name, min, max, faults: &mut Vec<String>| {
        let number = rules.integer(name, min, max, faults);
        number.and_then(|number| i32::try_from(number).ok())
    };
    let rate = number("fee_basis_points", 0, 10_000, faults);
    let tolerance = number("fee_tolerance_minor", 0, 1_000, faults);
    let days = number("settled_within_days", 1, 60, faults);
    let detail = "must be \"returned\" or \"kept\"";
    let of_refunds = rules.text("fee_of_refunds", faults, detail, FeeOfRefunds::from_name);
    rules.finish(faults);
    Rules {
        fee_basis_points: rate.or(default.fee_basis_points),
        fee_tolerance_minor: tolerance.map_or(default.fee_tolerance_minor, i64::from),
        fee_of_refunds: of_refunds.or(default.fee_of_refunds),
        settled_within_days: days.unwrap_or(default.settled_within_days),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        fee_basis_points: Some(60),
        fee_tolerance_minor: 0,
        fee_of_refunds: None,
        settled_within_days: 5,
    };

    fn here() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/alipay/testdata"))
    }

    fn habits() -> SftpHabits {
        let habits = SftpHabits::read(&mut Reader::new(&|_| None));
        habits.expect("all have defaults")
    }

    fn faults(text: &str) -> Vec<String> {
        parse(text, here(), (RefundPlan::default(), RULES, &habits())).expect_err("faults")
    }

    #[test]
    fn several_accounts_with_several_keys_are_read() {
        let accounts = parse(
            r#"
            [[account]]
            partner = "2088000000000017"
            endpoint = "https://intlmapi.alipay.com/gateway.do"
            refund_batch_opens = "22:30"
            [[account.private_key]]
            file = "ca.pem"
            not_after = 2027-01-01T00:00:00+08:00
            [[account.private_key]]
            file = "server.pem"
            not_before = "2026-12-31T16:00:00Z"
            [[account.alipay_public_key]]
            file = "other-ca.pem"
            [account.limits]
            max_refund_minor = 500000
            [account.reconciliation]
            fee_basis_points = 80
            fee_of_refunds = "kept"

            [[account]]
            partner = "2160000000000018"
            endpoint = "https://intlmapi.alipay.com/gateway.do"
            sign_type = "MD5"
            [[account.md5_key]]
            file = "ca.pem"
            "#,
            here(),
            (RefundPlan::default(), RULES, &habits()),
        )
        .expect("two accounts");
        let [first, second] = accounts.as_slice() else {
            panic!("two accounts: {accounts:?}");
        };
        assert_eq!(first.own_keys.len(), 2);
        assert_eq!(
            first.own_keys[0].validity.not_after,
            first.own_keys[1].validity.not_before
        );
        assert_eq!(first.own_keys[0].path, here().join("ca.pem"));
        let hours = first.refund_plan.hours;
        assert_eq!(hours.opens.to_string(), "22:30:00");
        assert_eq!(hours.closes, BatchHours::default().closes);
        assert_eq!(first.limits.max_refund_minor, Some(500_000));
        assert_eq!(
            first.rules,
            Rules {
                fee_basis_points: Some(80),
                fee_of_refunds: Some(FeeOfRefunds::Kept),
                ..RULES
            }
        );
        assert_eq!(second.rules, RULES);
        assert_eq!(second.sign_type, SignType::Md5);
        assert_eq!((second.own_keys.len(), second.alipays_keys.len()), (1, 0));
    }

    #[test]
    fn an_account_gives_back_in_one_piece_what_alipays_page_says_or_what_it_is_told() {
        let limits_of = |limits: &str| {
            let text = format!(
                r#"
                [[account]]
                partner = "2088000000000017"
                endpoint = "https://intlmapi.alipay.com/gateway.do"
                sign_type = "MD5"
                [[account.md5_key]]
                file = "ca.pem"
                {limits}
                "#
            );
            let accounts = parse(&text, here(), (RefundPlan::default(), RULES, &habits()));
            accounts.expect("an account")[0].limits
        };
        let of_page = limits_of("");
        assert_eq!(of_page.most_of_a_payment(), Some(999_999_999));
        let told = limits_of(
            "[account.limits]\nmax_payment_minor = 5000000000\nlargest_refund_minor = 3000000000",
        );
        assert_eq!(told.most_of_a_payment(), Some(3_000_000_000));
    }

    #[test]
    fn every_fault_of_the_file_is_named_at_once() {
        assert_eq!(faults(""), ["has no [[account]]"]);
        assert!(faults("[[account]")[0].starts_with("is not valid TOML: "));
        assert_eq!(
            faults(
                r#"
                colour = "blue"
                [[account]]
                partner = "2088"
                endpoint = "ftp://example.com"
                sign_type = "SHA"
                refund_give_up_days = 0
                amuont = 1
                [[account.private_key]]
                file = "nowhere.pem"
                not_before = "soon"
                [[account.private_key]]
                not_before = 2027-01-01T00:00:00Z
                not_after = 2026-01-01T00:00:00Z
                [account.limits]
                max_refund_minor = 1.5
                [account.reconciliation]
                fee_basis_points = 10001
                fee_of_refunds = "lost"
                days = 3
                [[account]]
                sign_type = "MD5"
                [[account.alipay_public_key]]
                file = "ca.pem"
                "#
            ),
            [
                "account 1: partner: must be 16 digits that begin with 2088 or 2160",
                "account 1: endpoint: must be an http or https URL without user and password",
                "account 1: sign_type: must be RSA2, RSA or MD5",
                "account 1: private_key 1: not_before: must be an instant with its offset, such as 2027-01-01T00:00:00+08:00",
                &format!(
                    "account 1: private_key 1: file: no such file: {}",
                    here().join("nowhere.pem").display()
                ),
                "account 1: private_key 2: file: must be given",
                "account 1: private_key 2: not_after: must be later than not_before",
                "account 1: alipay_public_key: must be given for this sign_type",
                "account 1: refund_give_up_days: must be a whole number from 1 to 1000",
                "account 1: limits: max_refund_minor: must be a whole number from 1 to 10000000000",
                "account 1: reconciliation: fee_basis_points: must be a whole number from 0 to 10000",
                "account 1: reconciliation: fee_of_refunds: must be \"returned\" or \"kept\"",
                "account 1: reconciliation: days: is not a known setting",
                "account 1: amuont: is not a known setting",
                "account 2: partner: must be given",
                "account 2: endpoint: must be given",
                "account 2: alipay_public_key: does not belong to this sign_type",
                "account 2: md5_key: must be given for this sign_type",
                "colour: is not a known setting",
            ]
        );
    }

    #[test]
    fn an_endpoint_has_no_query_of_its_own() {
        let found = faults(
            r#"
            [[account]]
            partner = "2088000000000017"
            endpoint = "https://intlmapi.alipay.com/gateway.do?_input_charset=UTF-8"
            sign_type = "MD5"
            [[account.md5_key]]
            file = "ca.pem"
            "#,
        );
        assert_eq!(found, [format!("account 1: endpoint: {NO_QUERY}")]);
    }

    #[test]
    fn the_same_account_twice_is_a_fault() {
        let account = r#"
            [[account]]
            partner = "2088000000000017"
            endpoint = "https://intlmapi.alipay.com/gateway.do"
            sign_type = "MD5"
            [[account.md5_key]]
            file = "ca.pem"
            "#;
        assert_eq!(
            faults(&[account, account].concat()),
            ["account 2: partner: 2088000000000017 is given twice"]
        );
    }

    #[test]
    fn where_daily_files_are_fetched_is_read_with_what_the_environment_leaves() {
        let account = r#"
            [[account]]
            partner = "2088000000000017"
            endpoint = "https://intlmapi.alipay.com/gateway.do"
            sign_type = "MD5"
            [[account.md5_key]]
            file = "ca.pem"
            [account.sftp]
            host = "isftp.alipay.com"
            "#;
        let pin = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let good = format!(
            "{account}\nuser = \"u\"\npassword_file = \"ca.pem\"\nhost_keys = [\"{pin}\"]\nlast = \"17:30\""
        );
        let accounts =
            parse(&good, here(), (RefundPlan::default(), RULES, &habits())).expect("an account");
        let sftp = accounts[0].sftp.as_ref().expect("a server");
        assert_eq!((sftp.port, sftp.host_keys.len()), (22, 1));
        assert_eq!(sftp.habits.directories, ["/download/", "/"]);
        assert_eq!(sftp.habits.hours.first.to_string(), "10:15:00");
        assert_eq!(sftp.habits.hours.last.to_string(), "17:30:00");
        let bad = format!(
            "{account}\nport = 0\npasword_file = \"x\"\nprivate_key_file = \"nowhere\"\nfirst = \"18:00\"\n\
             directories = [\"download\"]\nlook_back_days = 0"
        );
        let found = faults(&bad);
        let begins: Vec<&str> = found
            .iter()
            .map(|fault| fault.split(": ").nth(2).unwrap_or_default())
            .collect();
        assert_eq!(
            begins,
            [
                "port",
                "user",
                "private_key_file",
                "host_keys",
                "directories",
                "last",
                "look_back_days",
                "pasword_file"
            ],
            "{found:#?}"
        );
        // Without a pin it says what to do.
        assert!(found[3].contains("ssh-keyscan"), "{found:#?}");
    }
}
