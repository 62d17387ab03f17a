//! Figures of papers, drawn again with our own measurements. The folder of the paper says what to see in it.

mod chart;
mod cluster;
mod hoplite;
mod molly;
mod recovery;
mod removal;
mod scaling;

use std::path::Path;

/// A figure that can be drawn.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Figure {
    /// Broadcast time against the number of receivers, with and without relays, simulated.
    #[value(name = "hoplite-2021")]
    Hoplite,
    /// Tasks per second as nodes are added, simulated.
    #[value(name = "ray-2018")]
    Ray,
    /// Tasks per second while nodes are taken away one by one and given back, simulated.
    #[value(name = "ownership-2021")]
    Ownership,
    /// Time of recovery against the length of a chain of tasks, and of an actor's history, simulated.
    #[value(name = "lineage-stash-2019")]
    LineageStash,
    /// Planted bugs found against plans played, for three searches, from the table in sim/MUTANTS.md.
    #[value(name = "molly-2015")]
    Molly,
}

impl Figure {
    /// Draws it into the paper's folder and says where it is.
    ///
    /// # Errors
    /// What kept it from being measured or written.
    #[allow(clippy::disallowed_methods, reason = "a figure is a file of the project")]
    pub fn draw(self) -> Result<(), String> {
        let (file, chart) = match self {
            Self::Hoplite => ("hoplite-2021/broadcast.svg", hoplite::chart()?),
            Self::Ray => ("ray-2018/scaling.svg", scaling::chart()?),
            Self::Ownership => ("ownership-2021/removal.svg", removal::chart()?),
            Self::LineageStash => ("lineage-stash-2019/recovery.svg", recovery::chart()?),
            Self::Molly => ("molly-2015/searches.svg", molly::chart()?),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("papers").join(file);
        std::fs::write(&path, chart.to_svg()).map_err(|why| format!("{}: {why}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }
}
