//! Described services: from the config to the board's table. Descriptions are read from files or asked of the targets; a target that is down at
//! the start is asked again until it answers.

use crate::config::{Config, Job, Service};
use crate::error::{CliError, exit};
use crate::speaks::SPEAKS;
use sb_board::Board;
use sb_board::call::{self, Codec, Provider, Retrying, Workers};
use sb_board::mount::{Client, Dialer, Target};
use sb_core::jobs::MethodPolicy;
use sb_schema::{Builder, Options, Schema};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a target may take to describe itself before the server starts without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a silent target is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often targets that describe themselves are asked whether something has changed.
const REFRESH: Duration = Duration::from_secs(60);
/// The most files that one service may be described by.
const MAX_FILES: usize = 10_000;

/// A service with its description.
struct Described {
    config: Service,
    schema: Schema,
    /// The services it stands for.
    names: Vec<String>,
}

/// Puts the described services of the config into the board's table. What is wrong with files is an error; targets that do not answer are not.
pub async fn start(board: &Arc<Board>, config: &Config) -> Result<(), CliError> {
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    let mut all: Vec<Option<Described>> = Vec::new();
    for service in &config.services {
        all.push(match service.protos.is_empty() {
            false => Some(from_files(service)?),
            true => tokio::time::timeout(PATIENCE, ask(service, &dialer))
                .await
                .unwrap_or_else(|_| Err("it did not answer in time".into()))
                .inspect_err(|why| tracing::warn!(service = %service.name, %why, "a service cannot be asked what it offers; it will be asked again"))
                .ok(),
        });
    }
    // What can be wrong with a target is said at once.
    for service in &config.services {
        provider(service, &dialer)?;
    }
    publish(board, &all, &dialer).await?;
    board.share(sb_graphql::SharedGateway(gateway(config, &dialer)?.map(Arc::new)));
    if all.iter().zip(&config.services).any(|(_, service)| service.protos.is_empty()) {
        let (board, services) = (Arc::downgrade(board), config.services.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(if all.iter().any(Option::is_none) { AGAIN } else { REFRESH }).await;
                let mut changed = false;
                for (known, service) in all.iter_mut().zip(&services).filter(|(_, s)| s.protos.is_empty()) {
                    let asked = tokio::time::timeout(PATIENCE, ask(service, &dialer)).await;
                    if let Ok(Ok(new)) = asked
                        && known
                            .as_ref()
                            .is_none_or(|k| k.schema.descriptor_set() != new.schema.descriptor_set())
                    {
                        if let Some(known) = known {
                            for change in sb_schema::breaking_changes(&known.schema, &new.schema) {
                                tracing::warn!(service = %service.name, %change, "a service changed incompatibly");
                            }
                        }
                        *known = Some(new);
                        changed = true;
                    }
                }
                let Some(board) = board.upgrade().filter(|b| !b.is_draining()) else { return };
                if changed && let Err(error) = publish(&board, &all, &dialer).await {
                    tracing::warn!(%error, "new descriptions of services are not used");
                }
            }
        });
    }
    Ok(())
}

/// Checks descriptions and targets without asking anybody.
pub fn check(config: &Config) -> Result<(), CliError> {
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    gateway(config, &dialer)?;
    for service in &config.services {
        provider(service, &dialer)?;
        if !service.protos.is_empty() {
            from_files(service)?;
        }
    }
    Ok(())
}

/// The gateway over GraphQL subgraphs, if there is one.
fn gateway(config: &Config, dialer: &Arc<dyn Dialer>) -> Result<Option<sb_graphql::Gateway>, CliError> {
    let gateway = config.gateway.as_ref().map(|settings| sb_graphql::Gateway::new(settings, dialer));
    gateway.transpose().map_err(|e| {
        let error = CliError::new(exit::USAGE, "SB0117", format!("[graphql.gateway]: {}", e.detail));
        if e.fix.is_empty() { error } else { error.help(e.fix.to_string()) }
    })
}

async fn publish(
    board: &Arc<Board>,
    all: &[Option<Described>],
    dialer: &Arc<dyn Dialer>,
) -> Result<(), CliError> {
    let mut builder = Builder::new();
    sb_api::add_to(&mut builder)
        .map_err(|e| CliError::local(format!("the own API cannot be described: {e}")))?;
    let mut services: Vec<call::Service> = Vec::new();
    for described in all.iter().flatten() {
        let config = &described.config;
        builder.schema(&described.schema).map_err(|e| wrong(config, e))?;
        let provider = provider(config, dialer)?;
        for name in &described.names {
            if services.iter().any(|s| *s.name == **name) {
                return Err(wrong(
                    config,
                    format!("the service {name} is served by another entry of [services] already"),
                ));
            }
            services.push(call::Service {
                name: name.as_str().into(),
                provider: provider.clone(),
                timeout: config.timeout,
                shown: config.shown.as_ref().map(|list| list.clone().into()),
                json: Options {
                    int64: if config.int64_numbers {
                        sb_schema::Int64::Number
                    } else {
                        sb_schema::Int64::String
                    },
                    show_defaults: config.show_defaults,
                    ..Options::default()
                },
            });
        }
    }
    // Behind those of the users, which are what most callers look for.
    services.extend(sb_api::services());
    let schema = builder.build().map_err(|e| CliError::new(exit::USAGE, "SB0117", e.to_string()))?;
    declare(board, all, &schema).await?;
    board
        .set_services(schema, services)
        .await
        .map_err(|e| CliError::new(exit::USAGE, e.code, e.detail.to_string()))
}

/// Methods that workers serve have a topic each, or one for all; so have those of an upstream whose jobs are to run otherwise than they do by
/// themselves. Other methods get theirs with their first job.
async fn declare(board: &Arc<Board>, all: &[Option<Described>], schema: &Schema) -> Result<(), CliError> {
    let has_jobs = |d: &&Described| d.config.target.is_none() || d.config.job != Job::default();
    for described in all.iter().flatten().filter(has_jobs) {
        let job = &described.config.job;
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        for name in &described.names {
            let Some(service) = schema.service(name) else { continue };
            for method in service.methods.iter().filter(|m| !m.client_streaming) {
                let own = MethodPolicy::new(&method.path);
                let policy = MethodPolicy {
                    topic: described.config.topic.clone().unwrap_or(own.topic),
                    attempts: job.attempts,
                    lease_ms: ms(job.lease),
                    timeout_ms: ms(job.timeout),
                    keep_ms: ms(job.keep_result),
                    backoff_ms: ms(job.backoff),
                };
                let declared = board.admin().declare_method(&method.path, policy).await;
                declared.map_err(|e| wrong(&described.config, e.detail))?;
            }
        }
    }
    Ok(())
}

fn wrong(service: &Service, why: impl std::fmt::Display) -> CliError {
    CliError::new(exit::USAGE, "SB0117", format!("[services.{}]: {why}", service.name))
}

/// Who answers the calls of a service.
fn provider(service: &Service, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>, CliError> {
    let Some(target) = target(service) else {
        let topic = service.topic.clone().unwrap_or_else(|| service.name.clone());
        return Ok(Arc::new(Workers { topic, codecs: &[Codec::Json] }));
    };
    let client = client(&target, service)?;
    let provider = (client.connect)(&target, dialer).map_err(|e| wrong(service, e.detail))?;
    Ok(Arc::new(Retrying::new(provider, service.hedge)))
}

fn target(service: &Service) -> Option<Target> {
    Some(Target {
        url: service.target.clone()?,
        ca: service.ca.clone(),
        identity: service.identity.clone(),
        server_name: service.server_name.clone(),
        balance: service.balance,
        health: service.health.clone(),
        max_running: service.max_running as usize,
        connect_ms: 0,
    })
}

fn client(target: &Target, service: &Service) -> Result<&'static Client, CliError> {
    let scheme = target.scheme();
    let clients = || SPEAKS.iter().filter_map(|p| p.client.as_ref());
    clients().find(|c| c.schemes.contains(&scheme.as_str())).ok_or_else(|| {
        let known: Vec<&str> = clients().flat_map(|c| c.schemes).copied().collect();
        wrong(service, format!("`{scheme}` is not a scheme of a target"))
            .help(format!("allowed: {}", known.join(", ")))
    })
}

/// Asks the target what it offers.
async fn ask(service: &Service, dialer: &Arc<dyn Dialer>) -> Result<Described, String> {
    let target = target(service).ok_or("there is nothing to ask")?;
    let client = client(&target, service).map_err(|e| e.to_string())?;
    let describe = client
        .describe
        .ok_or_else(|| format!("{} cannot tell what it offers: give proto = \"FILE\"", target.scheme()))?;
    let bytes = describe(target, dialer.clone(), service.only.clone()).await.map_err(|e| e.to_string())?;
    let schema = Schema::from_descriptor_set(&bytes).map_err(|e| e.to_string())?;
    let names = names(service, schema.services().iter().map(|s| &*s.full_name));
    Ok(Described { config: service.clone(), schema, names })
}

/// The services that an entry stands for. What every server has for itself is not passed on.
fn names<'a>(service: &Service, declared: impl Iterator<Item = &'a str>) -> Vec<String> {
    declared
        .filter(|name| service.only.is_empty() || service.only.iter().any(|o| o == name))
        .filter(|name| !name.starts_with("grpc.reflection.") && !name.starts_with("grpc.health."))
        .map(str::to_owned)
        .collect()
}

/// Reads the files that describe a service.
fn from_files(service: &Service) -> Result<Described, CliError> {
    let mut builder = Builder::new();
    let mut texts = Texts { roots: service.imports.clone(), ..Texts::default() };
    for path in &service.protos {
        if path.is_dir() {
            texts.roots.push(path.clone());
        }
    }
    let mut thrift = Texts { roots: texts.roots.clone(), ..Texts::default() };
    for path in &service.protos {
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            texts.folder(path, path).map_err(|e| wrong(service, e))?;
        } else if kind == "proto" {
            texts.given(path).map_err(|e| wrong(service, e))?;
        } else if kind == "thrift" {
            thrift.given(path).map_err(|e| wrong(service, e))?;
        } else {
            let bytes = read(path).map_err(|e| wrong(service, e))?;
            builder.descriptor_set(&bytes).map_err(|e| wrong(service, format!("{}: {e}", path.display())))?;
        }
    }
    if !thrift.found.is_empty() {
        let files: Vec<(&str, &str)> =
            thrift.found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let translated = sb_thrift::idl::to_proto(&files).map_err(|e| wrong(service, e))?;
        for note in &translated.notes {
            tracing::info!(service = %service.name, note, "not all of a .thrift file is carried over");
        }
        texts.named.extend(thrift.named.iter().map(|name| sb_thrift::idl::proto_path(name)));
        texts.found.extend(translated.protos);
    }
    for (name, text) in &texts.found {
        builder.text(name, text).map_err(|e| wrong(service, e))?;
    }
    let schema = builder.build().map_err(|e| wrong(service, e))?;
    let names =
        names(service, schema.services().iter().filter(|s| texts.wants(&s.file)).map(|s| &*s.full_name));
    if let Some(missing) = service.only.iter().find(|only| !names.contains(only)) {
        let all: Vec<&str> = schema.services().iter().map(|s| &*s.full_name).collect();
        return Err(wrong(service, format!("there is no service {missing} in its description"))
            .help(format!("there are: {}", all.join(", "))));
    }
    if names.is_empty() {
        return Err(wrong(service, "its description declares no service"));
    }
    Ok(Described { config: service.clone(), schema, names })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

/// `.proto` files by the names under which they are imported.
#[derive(Default)]
struct Texts {
    roots: Vec<PathBuf>,
    found: Vec<(String, String)>,
    /// The files that were named themselves, not merely imported.
    named: BTreeSet<String>,
}

impl Texts {
    /// Whether services of this file are meant: of all that were named, and of every descriptor set.
    fn wants(&self, file: &str) -> bool {
        self.named.is_empty() || self.named.contains(file)
    }

    fn folder(&mut self, root: &Path, folder: &Path) -> Result<(), String> {
        let entries =
            std::fs::read_dir(folder).map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.folder(root, &path)?;
            } else if path.extension().is_some_and(|e| e == "proto") {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                self.named.insert(name.clone());
                self.add(name, &path)?;
            }
        }
        Ok(())
    }

    /// A file that was named. It is known by its place below one of the roots, or by its own name.
    fn given(&mut self, path: &Path) -> Result<(), String> {
        let below = self.roots.iter().find_map(|root| path.strip_prefix(root).ok()).map(Path::to_path_buf);
        let name = match below {
            Some(below) => below.to_string_lossy().into_owned(),
            None => {
                if let Some(folder) = path.parent() {
                    self.roots.push(folder.to_path_buf());
                }
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        };
        self.named.insert(name.clone());
        self.add(name, path)
    }

    /// Adds a file and what it imports, as far as that lies below a root; the rest may come with the compiler.
    fn add(&mut self, name: String, path: &Path) -> Result<(), String> {
        if self.found.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        if self.found.len() >= MAX_FILES {
            return Err(format!("there are more than {MAX_FILES} files"));
        }
        let text = String::from_utf8(read(path)?).map_err(|_| format!("{} is not UTF-8", path.display()))?;
        let imports: Vec<String> = imports(&text).map(str::to_owned).collect();
        self.found.push((name, text));
        for import in imports {
            let place = self.roots.iter().map(|root| root.join(&import)).find(|p| p.is_file());
            if let Some(place) = place {
                self.add(import, &place)?;
            }
        }
        Ok(())
    }
}

/// The names in `import "…";` lines of `.proto` and `include "…"` lines of `.thrift` files. A comment that looks like one does no harm: the file is read in vain.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = line.strip_prefix("import").or_else(|| line.strip_prefix("include"))?.trim_start();
        let rest =
            rest.strip_prefix("public").or_else(|| rest.strip_prefix("weak")).unwrap_or(rest).trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest.get(1..)?.split(quote).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found() {
        let text = "syntax = \"proto3\";\nimport \"a/b.proto\";\n  import public 'c.proto';\nimport weak \"d.proto\"; // x\nmessage import {}";
        assert_eq!(imports(text).collect::<Vec<_>>(), ["a/b.proto", "c.proto", "d.proto"]);
    }
}
