//! The daily files: how they are made, what is planted in which, and the files themselves.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::{Sim, refuse};
use crate::{
    files::{File, FileId, FileSettings, Kind, Plant, publish},
    state::{Simulator, State},
};

/// The routes of files.
pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_control/files", get(files).put(set_files))
        .route("/_control/files/{partner}/{kind}/{day}", get(file))
        .route(
            "/_control/files/{partner}/{kind}/{day}/plants",
            get(plants).post(add_plant).delete(clear_plants),
        )
        .route(
            "/_control/files/{partner}/{kind}/{day}/publish",
            post(publish_now),
        )
}

/// Partner, kind and day of a path.
type FilePath = Path<(String, String, String)>;

const NO_FILE: &str = "there is nothing in that file";

fn files_json(simulator: &Simulator, state: &mut State) -> Value {
    let ids = state.file_ids(&simulator.partner).into_iter();
    json!({
        "settings": state.files.settings,
        "files": ids.map(|id| id.name(&simulator.partner)).collect::<Vec<_>>(),
    })
}

async fn files(Shared(simulator): Sim) -> Json<Value> {
    Json(files_json(&simulator, &mut simulator.state()))
}

/// Changes what is given and keeps the rest.
async fn set_files(Shared(simulator): Sim, Json(set): Json<Map<String, Value>>) -> Response {
    let mut state = simulator.state();
    let mut settings = json!(state.files.settings);
    if let Some(fields) = settings.as_object_mut() {
        fields.extend(set);
    }
    match serde_json::from_value::<FileSettings>(settings) {
        Ok(settings) => {
            state.files.settings = settings;
            Json(files_json(&simulator, &mut state)).into_response()
        }
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

/// The bytes of the file, as they would lie on the SFTP server.
async fn file(Shared(simulator): Sim, Path(path): FilePath) -> Response {
    with_file(&simulator, &path, |file| {
        let name = format!("attachment; filename=\"{}\"", file.name);
        let headers = [
            (header::CONTENT_TYPE, "text/plain".to_owned()),
            (header::CONTENT_DISPOSITION, name),
        ];
        (headers, file.bytes).into_response()
    })
}

async fn plants(Shared(simulator): Sim, Path(path): FilePath) -> Response {
    with_file(&simulator, &path, |file| {
        Json(planted_json(&file)).into_response()
    })
}

/// Plants a difference, and says what is now different in the file.
async fn add_plant(
    Shared(simulator): Sim,
    Path(path): FilePath,
    Json(plant): Json<Plant>,
) -> Response {
    let Some(id) = file_id(&simulator, &path) else {
        return no_such_file();
    };
    let mut state = simulator.state();
    state.files.plant(id, plant);
    let planted = state.make_file(&simulator.partner, id);
    // Also when the last row was taken away.
    let planted = planted.map_or_else(|| json!({"planted": []}), |file| planted_json(&file));
    (StatusCode::CREATED, Json(planted)).into_response()
}

async fn clear_plants(Shared(simulator): Sim, Path(path): FilePath) -> Response {
    let Some(id) = file_id(&simulator, &path) else {
        return no_such_file();
    };
    simulator.state().files.clear(id);
    StatusCode::NO_CONTENT.into_response()
}

/// Lays out the file now, also over one that is there already.
async fn publish_now(Shared(simulator): Sim, Path(path): FilePath) -> Response {
    let Some(directory) = simulator.files_dir.clone() else {
        return refuse(StatusCode::CONFLICT, "there is no --files-dir");
    };
    with_file(&simulator, &path, |file| {
        match publish::lay_out(&directory, &file) {
            Ok(()) => Json(planted_json(&file)).into_response(),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    })
}

fn planted_json(file: &File) -> Value {
    json!({
        "name": file.name,
        "records": file.records,
        "planted": file.planted,
    })
}

fn with_file(
    simulator: &Simulator,
    path: &(String, String, String),
    answer: impl FnOnce(File) -> Response,
) -> Response {
    let Some(id) = file_id(simulator, path) else {
        return no_such_file();
    };
    let file = simulator.state().make_file(&simulator.partner, id);
    match file {
        Some(file) => answer(file),
        None => refuse(StatusCode::NOT_FOUND, NO_FILE),
    }
}

fn file_id(simulator: &Simulator, path: &(String, String, String)) -> Option<FileId> {
    let (partner, kind, day) = path;
    let kind = [Kind::Transaction, Kind::Settlement]
        .into_iter()
        .find(|known| known.word() == kind)?;
    let day = NaiveDate::parse_from_str(day, "%Y%m%d").ok()?;
    (*partner == simulator.partner).then_some(FileId { kind, day })
}

fn no_such_file() -> Response {
    let error = "the path is /_control/files/PARTNER/transaction|settlement/YYYYMMDD";
    refuse(StatusCode::NOT_FOUND, error)
}
