//! Renders the templates in `templates/`.

use anyhow::{Context, Result};
use tera::Tera;

pub fn render(template: &str, context: &tera::Context) -> Result<String> {
    Tera::one_off(template, context, false).context("render a template")
}
