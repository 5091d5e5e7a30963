//! Curves as an SVG, from lines of `x<TAB>metric<TAB>server<TAB>value`: a line for
//! each server and metric, with a dash and a marker of its own.

mod axis;
mod curves;
mod svg;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use axis::Scale;
use curves::Curves;

/// The texts and the axes of the picture.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    file: PathBuf,
    #[arg(long)]
    title: String,
    /// Label of the horizontal axis
    #[arg(long)]
    x: String,
    /// Label of the vertical axis
    #[arg(long)]
    y: String,
    /// Each step of the vertical axis is ten times the one below
    #[arg(long)]
    logarithmic: bool,
}

pub(crate) fn print(plan: &Plan) -> anyhow::Result<()> {
    let text = fs::read_to_string(&plan.file)
        .with_context(|| format!("cannot read {}", plan.file.display()))?;
    let curves = Curves::read(&text).with_context(|| plan.file.display().to_string())?;
    let scale = if plan.logarithmic {
        Scale::Logarithmic
    } else {
        Scale::Linear
    };
    print!("{}", svg::draw(plan, &curves, scale));
    Ok(())
}
