//! Figures of papers, drawn again with our own measurements. The folder of the paper says what to see in it.

mod chart;
mod hoplite;

use std::path::Path;

/// A figure that can be drawn.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Figure {
    /// Broadcast time against the number of receivers, with and without relays, simulated.
    #[value(name = "hoplite-2021")]
    Hoplite,
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
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("papers").join(file);
        std::fs::write(&path, chart.to_svg()).map_err(|why| format!("{}: {why}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }
}
