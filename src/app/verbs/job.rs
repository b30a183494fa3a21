//! `job`: what works on many deliveries.
//!
//! Owns what is shown of jobs, and the waiting for one. Must never do a job's work.

use http::Method;

use super::list::{self, Query};
use super::project::{fields, line};
use crate::app::args::JobVerb;
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{Progress, is_terminal};
use crate::app::{Stop, runtime};
use crate::clock;
use crate::model::json::Json;

/// What a list shows of each.
const COLUMNS: [&str; 7] = ["id", "kind", "state", "matched", "done", "skipped", "created_at"];
/// Jobs that a list shows.
const JOBS_MAX: u32 = 1_000;
/// How often a job is looked at while it is waited for.
const LOOK_MS: u64 = 200;

pub(crate) fn run(verb: &JobVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result
    })
}

async fn carry_out(verb: &JobVerb, control: &Control, json: bool) -> Result<Exit, Stop> {
    let (id, named) = match verb {
        JobVerb::List { project: named } => {
            let name = project(control, named.as_deref()).await?;
            let path = format!("/projects/{name}/jobs/");
            list::print(control, &path, Query::default(), JOBS_MAX, json, &COLUMNS).await?;
            return Ok(Exit::Ok);
        }
        JobVerb::Show { id, project }
        | JobVerb::Wait { id, project }
        | JobVerb::Cancel { id, project } => (id, project),
    };
    if !id.starts_with("job_")
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(Stop::new(Exit::Usage, format!("{id:?} is no job's id: job_…")));
    }
    let name = project(control, named.as_deref()).await?;
    if let JobVerb::Wait { .. } = verb {
        return wait(control, &name, id, json).await;
    }
    let path = format!("/projects/{name}/jobs/{id}/");
    let method = if let JobVerb::Cancel { .. } = verb { Method::DELETE } else { Method::GET };
    let answer = control.call(method, &path, None).await?.json()?;
    print(of(&answer), json);
    Ok(Exit::Ok)
}

/// Shows what came of asking for a job, and waits for its end unless told otherwise.
pub(super) async fn begun(
    control: &Control,
    project: &str,
    answer: &Json,
    no_wait: bool,
    json: bool,
) -> Result<Exit, Stop> {
    let job = of(answer);
    let id = number(job, "id");
    if no_wait || id.is_empty() {
        print(job, json);
        return Ok(Exit::Ok);
    }
    wait(control, project, &id, json).await
}

/// Waits for a job's end. The job goes on if this is interrupted.
async fn wait(control: &Control, project: &str, id: &str, json: bool) -> Result<Exit, Stop> {
    let path = format!("/projects/{project}/jobs/{id}/");
    let progress = Progress::new();
    loop {
        let answer = control.call(Method::GET, &path, None).await?.json()?;
        let job = of(&answer);
        let count = |key| number(job, key).parse::<usize>().unwrap_or(0);
        let state = number(job, "state");
        if state != "running" {
            progress.clear();
            print(job, json);
            return Ok(if state == "done" { Exit::Ok } else { Exit::Failure });
        }
        let done = count("done") + count("skipped");
        let label = format!("{done} of {}, {id}", count("matched"));
        if count("matched") > 0 {
            progress.show(done, count("matched"), &label);
        }
        clock::sleep(LOOK_MS).await;
    }
}

/// The job of an answer that may hold more.
fn of(answer: &Json) -> &Json {
    answer.get("job").unwrap_or(answer)
}

fn print(job: &Json, json: bool) {
    if json || !is_terminal() { line(job) } else { fields(job) }
}
