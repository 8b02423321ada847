//! The flags of a service's binary, and those that `fresnel up` shares with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::LogFormat;

/// Flags about configuration. What is given here wins over the environment and the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// TOML file to read.
    #[arg(long, value_name = "FILE", env = "FRESNEL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one key, e.g. `--set signal.hop_s=0.5`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// NATS server to connect to (key nats.url).
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// How log lines look (key log.format).
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// What is logged: `info`, `info,signal=debug` (key log.level).
    #[arg(long, value_name = "DIRECTIVES")]
    pub log_level: Option<String>,
    /// Print the effective configuration with the source of each value, and exit.
    #[arg(long)]
    pub check_config: bool,
}

/// Flags of a single service's binary.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    version,
    about = "A service of Fresnel. Standard error has its log; SIGTERM drains it."
)]
pub struct ServiceFlags {
    #[command(flatten)]
    pub common: Flags,
    /// Address of the gRPC server (key <service>.grpc.listen).
    #[arg(long, value_name = "ADDR")]
    pub grpc_listen: Option<SocketAddr>,
    /// Address of the admin server: /livez, /readyz, /metrics (key <service>.admin.listen).
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Write the addresses that it listens on into this file, as JSON, once it is ready; for scripts, with port 0.
    #[arg(long, value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
}
