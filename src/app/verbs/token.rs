//! `token`: the operator's tokens.
//!
//! Owns what is shown of them. Must never show a token but once, to whoever made it.

use http::Method;

use super::project::{rows, show};
use crate::app::args::OperatorTokenVerb;
use crate::app::config::Loaded;
use crate::app::control::{Control, Without};
use crate::app::exit::Exit;
use crate::app::terminal::say;
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;

pub(crate) fn run(verb: &OperatorTokenVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &OperatorTokenVerb, control: &Control, json: bool) -> Result<(), Stop> {
    const PATH: &str = "/operator/tokens/";
    match verb {
        OperatorTokenVerb::Create { name } => {
            let body = match name {
                Some(name) => Object::new().text("name", name).end(),
                None => Object::new().end(),
            };
            let made = control.call(Method::POST, PATH, Some(body)).await?.json()?;
            show(&made, json, "The token is shown once. Keep it.");
        }
        OperatorTokenVerb::List => {
            let list = control.call(Method::GET, PATH, None).await?.json()?;
            rows(&list, json, &["id", "name", "created"]);
        }
        OperatorTokenVerb::Revoke { id } => {
            control.call(Method::DELETE, &format!("{PATH}{id}/"), None).await?.json()?;
            if !json {
                say(&format!("token {id} is revoked"));
            }
        }
    }
    Ok(())
}
