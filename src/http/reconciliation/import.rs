//! `POST /v1/reconciliations`: files in.

use std::time::Duration;

use axum::{
    Json,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartError, MultipartRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{fs::OpenOptions, io::AsyncWriteExt as _};
use utoipa::ToSchema;

use super::view::ReconciliationView;
use crate::{
    app::{
        App,
        reconciliation::{Order, ReconcileError, StagedFile},
    },
    domain::{id::ReconciliationId, reconciliation::Source},
    http::{
        extract::{AdminCaller, PreferWait, Reconcile, query::RawPairs},
        problem::{FieldFault, Kind, Problem},
        refusals::{self, refusals},
    },
};

/// Largest body of an import, in bytes: a file of a million rows has about 200 MB.
pub const MAX_IMPORT_BYTES: usize = 256 * 1024 * 1024;

/// How long a body may pause.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

/// The files of an import.
#[derive(ToSchema)]
#[expect(dead_code, reason = "says what the form has; it is read as it comes")]
// Without `minItems`: the client that openapi-generator makes for Go does not compile with it.
struct ReconciliationUpload {
    /// The files, each with its name as Alipay gave it.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
    /// Whether nothing is to be changed.
    dry_run: Option<bool>,
}

refusals! {
    CreateRefusals:
        [
            Problem::operator_required(),
            refusals::invalid_member("/dry_run", "invalid_value", "must be true or false"),
        ],
}

/// Reconcile files
///
/// Takes one or more of Alipay's daily files of one Alipay account (fields `file`; 256 MiB together), takes
/// what they prove into the books, and compares. The same files again, by name and content, answer the
/// same reconciliation; a changed file is a new version. With `dry_run` nothing is changed, and the report
/// is in the answer alone. What takes longer than `Prefer: wait` goes on and is answered `202`. Only the
/// operator's key imports. Where one of the files cannot be read, nothing of any of them is taken.
#[utoipa::path(
    post,
    path = "/v1/reconciliations",
    tag = "reconciliation",
    operation_id = "create_reconciliation",
    security(("api_key" = ["reconciliation"])),
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: hold the answer for at most N seconds, 0-60.", example = "wait=10")),
    request_body(content = ReconciliationUpload, description = "The files, each with its name.", content_type = "multipart/form-data"),
    responses(
        CreateRefusals,
        (status = 200, description = "The same files were reconciled before, or it was a dry run.", body = ReconciliationView),
        (status = 201, description = "Reconciled.", body = ReconciliationView, headers(("Location" = String, description = "Where to read it."))),
        (status = 202, description = "Still under way.", body = ReconciliationView, headers(("Location" = String, description = "Where to read it."))),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller<Reconcile>,
    prefer: PreferWait,
    query: RawPairs,
    multipart: Result<Multipart, MultipartRejection>,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    caller.operator_only()?;
    let multipart = multipart.map_err(|_| {
        Problem::new(
            Kind::UnsupportedMediaType,
            "send the files as `Content-Type: multipart/form-data`",
        )
    })?;
    let (files, dry_run) = receive(multipart).await?;
    let order = Order {
        source: Source::Upload,
        by: caller.by(),
        dry_run,
        other_layouts: false,
        kept_of_dry_run: 1_000,
    };
    let mut started = app
        .start_reconciliation(files, order)
        .await
        .map_err(problem)?;
    let tenant_scope = caller.identity.tenant_scope;
    // A dry run is in its answer alone, so it is waited for.
    let ended = if dry_run {
        Ok((&mut started.work).await)
    } else {
        tokio::time::timeout(prefer.duration(), &mut started.work).await
    };
    if let Ok(done) = ended {
        let done = done.map_err(|_| Problem::panicked())?.map_err(problem)?;
        let view = ReconciliationView::new(&done.report, &done.differences);
        let status = if done.is_replay || dry_run {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        return Ok(answer(status, done.report.item.id, view));
    }
    let report = app
        .reconciliation(tenant_scope, started.id)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    let view = ReconciliationView::new(&report, &[]);
    Ok(answer(StatusCode::ACCEPTED, Some(started.id), view))
}

fn answer(status: StatusCode, id: Option<ReconciliationId>, view: ReconciliationView) -> Response {
    match id {
        Some(id) => {
            let location = [(header::LOCATION, format!("/v1/reconciliations/{id}"))];
            (status, location, Json(view)).into_response()
        }
        None => (status, Json(view)).into_response(),
    }
}

/// Lays the files on disk as they come, and reads the other fields.
async fn receive(mut multipart: Multipart) -> Result<(Vec<StagedFile>, bool), Problem> {
    let mut files = vec![];
    let mut dry_run = None;
    while let Some(mut field) = soon(multipart.next_field()).await? {
        match field.name() {
            Some("file") => {
                let name = field.file_name().unwrap_or("file").to_owned();
                let file = StagedFile::temporary(&name);
                store(&mut field, &file).await?;
                files.push(file);
            }
            Some("dry_run") if dry_run.is_none() => {
                let text = soon(field.text()).await?;
                // Some generated clients write `True`.
                let value = text.to_ascii_lowercase().parse::<bool>();
                dry_run = Some(value.map_err(|_| fault("dry_run", "must be true or false"))?);
            }
            _ => {
                return Err(fault(
                    "",
                    "only the fields `file` and one `dry_run` are known",
                ));
            }
        }
    }
    if files.is_empty() {
        return Err(fault("file", "must be given at least once"));
    }
    Ok((files, dry_run.unwrap_or(false)))
}

async fn store(field: &mut Field<'_>, file: &StagedFile) -> Result<(), Problem> {
    let disk = |error: std::io::Error| {
        tracing::error!(%error, "cannot write an uploaded file to the staging directory");
        Problem::new(
            Kind::ServiceUnavailable,
            "the file could not be kept; try again",
        )
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut out = options.open(&file.path).await.map_err(disk)?;
    while let Some(chunk) = soon(field.chunk()).await? {
        out.write_all(&chunk).await.map_err(disk)?;
    }
    out.flush().await.map_err(disk)
}

/// Waits for the body, not for ever.
async fn soon<T>(reading: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Problem> {
    tokio::time::timeout(CHUNK_TIMEOUT, reading)
        .await
        .map_err(|_| Problem::new(Kind::RequestTimeout, "the body paused for 10 seconds"))?
        .map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = "the files may have 256 MiB together";
                Problem::new(Kind::BodyTooLarge, detail)
            } else {
                Problem::new(Kind::UnreadableBody, "the body ended early or was garbled")
            }
        })
}

fn fault(name: &str, detail: &str) -> Problem {
    Problem::validation(vec![of(name, detail)])
}

fn of(name: &str, detail: &str) -> FieldFault {
    FieldFault {
        pointer: Some(format!("/{name}")),
        parameter: None,
        code: "invalid_value",
        detail: detail.to_owned(),
    }
}

fn problem(error: ReconcileError) -> Problem {
    match error {
        ReconcileError::Files(files) => {
            let faults = files.iter().map(|file| of("file", &file.to_string()));
            Problem::validation(faults.collect())
        }
        ReconcileError::NoFiles | ReconcileError::Together(_) => fault("file", &error.to_string()),
        ReconcileError::Db(error) => crate::app::error::Error::from(error).into(),
        ReconcileError::Io { .. } | ReconcileError::Record(_) | ReconcileError::ReadingEnded => {
            tracing::error!(%error, "reconciliation failed; upload the same files again to continue it");
            Problem::new(
                Kind::InternalError,
                "the reconciliation failed; send the same files again to continue it",
            )
        }
    }
}
