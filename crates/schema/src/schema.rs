//! Snapshots: files, linked and immutable, and the services in them.

use crate::descriptor::{Enum, Message};
use crate::error::{Error, Result};
use crate::options::{HttpRule, http_rules};
use crate::pool::{Comments, Pool, join};
use crate::source;
use crate::verify;
use buffa::Message as _;
use buffa_descriptor::DescriptorPool;
use buffa_descriptor::generated::descriptor::method_options::IdempotencyLevel;
use buffa_descriptor::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A schema may consist of this many files.
pub const MAX_FILES: usize = 10_000;
/// A schema's descriptors and texts may have this many bytes together.
pub const MAX_BYTES: usize = 32 << 20;

/// Collects files until a [`Schema`] is built of them.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    texts: BTreeMap<String, String>,
    compiled: BTreeMap<String, Bytes>,
    bytes: usize,
}

impl Builder {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `.proto` text (proto2 or proto3) under the path by which others import it, as `shop/v1/shop.proto`.
    pub fn text(&mut self, path: &str, text: &str) -> Result<&mut Self> {
        self.count(text.len())?;
        match self.texts.get(path) {
            Some(other) if other != text => {
                return Err(Error::in_file("two different texts have this path", path));
            }
            Some(_) => {}
            None => {
                self.texts.insert(path.to_owned(), text.to_owned());
            }
        }
        Ok(self)
    }

    /// Adds every file of an encoded `google.protobuf.FileDescriptorSet`. Editions are welcome.
    pub fn descriptor_set(&mut self, bytes: &[u8]) -> Result<&mut Self> {
        for (name, file) in source::split(bytes)? {
            self.add(name, file)?;
        }
        Ok(self)
    }

    /// Adds one encoded `google.protobuf.FileDescriptorProto`, as server reflection hands them out. The order does not matter.
    pub fn file(&mut self, bytes: &[u8]) -> Result<&mut Self> {
        self.add(source::file_name(bytes)?, Bytes::copy_from_slice(bytes))?;
        Ok(self)
    }

    /// Adds the files another snapshot was built of.
    pub fn schema(&mut self, schema: &Schema) -> Result<&mut Self> {
        for file in schema.files().filter(|file| file.given) {
            self.add(file.name.clone(), file.bytes.clone())?;
        }
        Ok(self)
    }

    fn count(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(Error::new(format!("the schema has more than {MAX_BYTES} bytes")));
        }
        if self.texts.len() + self.compiled.len() >= MAX_FILES {
            return Err(Error::new(format!("the schema has more than {MAX_FILES} files")));
        }
        Ok(())
    }

    fn add(&mut self, name: String, file: Bytes) -> Result<()> {
        self.count(file.len())?;
        put(&mut self.compiled, name, file)
    }

    /// Compiles the texts and links all files.
    ///
    /// What the files import must be among them or come with this crate. Files of one name must say the same, except those that come with
    /// this crate, of which every compiler has its own edition: there the longest is kept.
    pub fn build(&self) -> Result<Schema> {
        let mut given = self.compiled.clone();
        if !self.texts.is_empty() {
            for (name, file) in source::compile_texts(&self.texts, &self.compiled)? {
                put(&mut given, name, file)?;
            }
        }
        let mut files = Vec::with_capacity(given.len());
        for bytes in given.into_values() {
            files.push(Parsed::new(bytes, true)?);
        }
        let mut symbols = verify::Symbols::default();
        for file in &files {
            symbols.add(&file.proto)?;
        }
        add_bundled(&mut files, &mut symbols)?;
        link(files, &symbols)
    }
}

/// Adds a file to others; if there is one of its name already, they have to agree.
fn put(files: &mut BTreeMap<String, Bytes>, name: String, file: Bytes) -> Result<()> {
    let Some(other) = files.get(&name) else {
        files.insert(name, file);
        return Ok(());
    };
    if *other == file {
        return Ok(());
    }
    if source::is_bundled(&name) {
        if without_sources(&file)?.encode_to_vec().len() > without_sources(other)?.encode_to_vec().len() {
            files.insert(name, file);
        }
        return Ok(());
    }
    if without_sources(other)? != without_sources(&file)? {
        return Err(Error::in_file("two different files have this name", name));
    }
    // They differ in comments; those of the longer one are kept.
    if file.len() > other.len() {
        files.insert(name, file);
    }
    Ok(())
}

fn without_sources(file: &[u8]) -> Result<FileDescriptorProto> {
    let mut proto = decode(file)?;
    proto.source_code_info = Default::default();
    Ok(proto)
}

fn decode(file: &[u8]) -> Result<FileDescriptorProto> {
    // The input is bounded; its decoded form takes some dozen times as much.
    buffa::DecodeOptions::new()
        .with_element_memory_limit(MAX_BYTES * 8)
        .decode_from_slice(file)
        .map_err(|e| Error::new(format!("not a google.protobuf.FileDescriptorProto: {e}")))
}

struct Parsed {
    name: String,
    bytes: Bytes,
    proto: FileDescriptorProto,
    given: bool,
}

impl Parsed {
    fn new(bytes: Bytes, given: bool) -> Result<Self> {
        let proto = decode(&bytes)?;
        let name = proto.name.clone().unwrap_or_default();
        Ok(Parsed { name, bytes, proto, given })
    }
}

/// Adds the files that come with this crate, where they do not get in the way of those that were given: a schema may well have its own
/// copy under another name.
fn add_bundled(files: &mut Vec<Parsed>, symbols: &mut verify::Symbols) -> Result<()> {
    let mut names: HashSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let needed: HashSet<String> = files.iter().flat_map(|file| file.proto.dependency.clone()).collect();
    for (name, bytes) in source::bundled()? {
        if names.contains(name) {
            continue;
        }
        let file = Parsed::new(bytes.clone(), false)?;
        // Imports come first, so a file whose import was left out is left out as well.
        let whole = file.proto.dependency.iter().all(|import| names.contains(import));
        if !needed.contains(name) && (!whole || symbols.collides(&file.proto)) {
            continue;
        }
        symbols.add(&file.proto)?;
        names.insert(file.name.clone());
        files.push(file);
    }
    Ok(())
}

fn link(mut files: Vec<Parsed>, symbols: &verify::Symbols) -> Result<Schema> {
    let mut places: HashMap<String, usize> =
        files.iter().enumerate().map(|(at, file)| (file.name.clone(), at)).collect();
    for file in &files {
        if let Some(import) = file.proto.dependency.iter().find(|import| !places.contains_key(*import)) {
            return Err(Error::in_file(format!("it imports {import:?}, which was not given"), &file.name));
        }
    }
    // What a given file imports is as good as given.
    let mut queue: Vec<usize> = (0..files.len()).filter(|at| files[*at].given).collect();
    let mut reached: HashSet<usize> = queue.iter().copied().collect();
    while let Some(at) = queue.pop() {
        for import in &files[at].proto.dependency {
            if let Some(&import) = places.get(import)
                && reached.insert(import)
            {
                queue.push(import);
            }
        }
    }
    for at in reached {
        files[at].given = true;
    }
    files.sort_by(|a, b| (!a.given, &a.name).cmp(&(!b.given, &b.name)));
    for (at, file) in files.iter().enumerate() {
        places.insert(file.name.clone(), at);
    }
    let set = FileDescriptorSet {
        file: files.iter().map(|file| file.proto.clone()).collect(),
        ..Default::default()
    };
    let raw = DescriptorPool::new(set).map_err(|error| symbols.locate(&error.to_string()))?;
    let pool = Arc::new(Pool::new(raw)?);
    let mut services = Vec::new();
    let mut by_name = HashMap::new();
    let mut methods = HashMap::new();
    for parsed in &files {
        for service in services_of(parsed, &pool)? {
            let service = Arc::new(service);
            for method in &service.methods {
                methods.insert(method.path.clone(), method.clone());
            }
            by_name.insert(service.full_name.clone(), service.clone());
            if !source::is_bundled(&parsed.name) {
                services.push(service);
            }
        }
    }
    services.sort_by(|a, b| a.full_name.cmp(&b.full_name));
    let files = files
        .into_iter()
        .map(|file| File {
            package: file.proto.package.unwrap_or_default(),
            dependencies: file.proto.dependency,
            name: file.name,
            bytes: file.bytes,
            given: file.given,
        })
        .collect();
    Ok(Schema { inner: Arc::new(Inner { pool, files, places, services, by_name, methods }) })
}

fn services_of(file: &Parsed, pool: &Arc<Pool>) -> Result<Vec<Service>> {
    let comments = Comments::new(file.proto.source_code_info.as_option());
    let package = file.proto.package.as_deref().unwrap_or_default();
    let mut services = Vec::with_capacity(file.proto.service.len());
    for (s, proto) in file.proto.service.iter().enumerate() {
        let full_name = join(package, proto.name.as_deref().unwrap_or_default());
        let lost = || Error::in_file(format!("the types of {full_name} are not there"), &file.name);
        let mut methods = Vec::with_capacity(proto.method.len());
        let raw = pool.raw.service_by_name(&full_name).ok_or_else(lost)?;
        for (m, method) in raw.methods().iter().enumerate() {
            let message = |index| {
                let index = pool.message_named(pool.raw.message(index).full_name()).ok_or_else(lost)?;
                Ok::<_, Error>(Message { pool: pool.clone(), index })
            };
            let options: Bytes = method.options().map(|o| o.encode_to_vec().into()).unwrap_or_default();
            let path = format!("{full_name}/{}", method.name());
            let http = http_rules(&options)
                .map_err(|e| Error::in_file(format!("{path}: {}", e.message()), &file.name))?;
            let level = method.options().and_then(|o| o.idempotency_level);
            methods.push(Arc::new(Method {
                service: full_name.clone(),
                name: method.name().to_owned(),
                client_streaming: method.is_client_streaming(),
                server_streaming: method.is_server_streaming(),
                idempotency: match level {
                    Some(IdempotencyLevel::NO_SIDE_EFFECTS) => Idempotency::NoSideEffects,
                    Some(IdempotencyLevel::IDEMPOTENT) => Idempotency::Idempotent,
                    _ => Idempotency::Unknown,
                },
                deprecated: method.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
                comment: comments.at(&[6, s as i32, 2, m as i32]),
                http,
                input: message(method.input())?,
                output: message(method.output())?,
                options,
                path,
            }));
        }
        services.push(Service {
            file: file.name.clone(),
            comment: comments.at(&[6, s as i32]),
            deprecated: raw.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
            options: raw.options().map(|o| o.encode_to_vec().into()).unwrap_or_default(),
            methods,
            full_name,
        });
    }
    Ok(services)
}

/// An immutable set of linked files. Cloning shares it.
#[derive(Clone)]
pub struct Schema {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub pool: Arc<Pool>,
    files: Vec<File>,
    places: HashMap<String, usize>,
    services: Vec<Arc<Service>>,
    by_name: HashMap<String, Arc<Service>>,
    methods: HashMap<String, Arc<Method>>,
}

/// A file of a schema.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name, as in `import`.
    pub name: String,
    /// Its package; may be empty.
    pub package: String,
    /// The names of the files it imports.
    pub dependencies: Vec<String>,
    /// The encoded `google.protobuf.FileDescriptorProto`, as it was given: what server reflection hands out.
    pub bytes: Bytes,
    /// Whether it was given, or imported by one that was; else it merely comes with this crate.
    pub given: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// `pkg.Service`.
    pub full_name: String,
    /// The name of the file that declares it.
    pub file: String,
    /// The comment above it; empty if there is none.
    pub comment: String,
    /// Whether it is marked deprecated.
    pub deprecated: bool,
    /// The encoded `google.protobuf.ServiceOptions`.
    pub options: Bytes,
    /// Its methods in the order of declaration.
    pub methods: Vec<Arc<Method>>,
}

/// What a method promises about being called again.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing.
    #[default]
    Unknown,
    /// It only reads; a call may be a cacheable GET.
    NoSideEffects,
    /// Calling it twice is like calling it once.
    Idempotent,
}

/// A method of a service.
#[derive(Clone, Debug)]
pub struct Method {
    /// `pkg.Service/Method`, as in the path of gRPC, without the slash in front.
    pub path: String,
    /// The full name of its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Whether the caller sends any number of messages.
    pub client_streaming: bool,
    /// Whether the answer is any number of messages.
    pub server_streaming: bool,
    /// `idempotency_level`.
    pub idempotency: Idempotency,
    /// Whether it is marked deprecated.
    pub deprecated: bool,
    /// The comment above it; empty if there is none.
    pub comment: String,
    /// The rules of `google.api.http`: the main one, then the additional bindings. Not checked; [`Router`](crate::rest::Router) does.
    pub http: Vec<HttpRule>,
    /// What it takes.
    pub input: Message,
    /// What it answers.
    pub output: Message,
    /// The encoded `google.protobuf.MethodOptions`.
    pub options: Bytes,
}

impl Schema {
    /// A schema of `.proto` texts under their paths.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut builder = Builder::new();
        for (path, text) in texts {
            builder.text(path, text)?;
        }
        builder.build()
    }

    /// A schema of an encoded `google.protobuf.FileDescriptorSet`.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self> {
        Builder::new().descriptor_set(bytes)?.build()
    }

    /// The method of this path, `pkg.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.inner.methods.get(path)
    }

    /// The service of this full name.
    pub fn service(&self, full_name: &str) -> Option<&Arc<Service>> {
        self.inner.by_name.get(full_name)
    }

    /// All services, by name, without those that everybody imports with the types beside them (`google.longrunning.Operations`): these are
    /// found by name only.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.inner.services
    }

    /// The message of this full name.
    pub fn message(&self, full_name: &str) -> Option<Message> {
        let index = self.inner.pool.message_named(full_name)?;
        Some(Message { pool: self.inner.pool.clone(), index })
    }

    /// The enum of this full name.
    pub fn enumeration(&self, full_name: &str) -> Option<Enum> {
        let index = self.inner.pool.enum_named(full_name)?;
        Some(Enum { pool: self.inner.pool.clone(), index })
    }

    /// All messages of given files, nested ones and the entries of maps included.
    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        let pool = &self.inner.pool;
        (0..pool.messages.len() as u32)
            .filter(|at| self.is_given(pool.message(*at).file))
            .map(|index| Message { pool: pool.clone(), index })
    }

    /// All enums of given files, nested ones included.
    pub fn enums(&self) -> impl Iterator<Item = Enum> + '_ {
        let pool = &self.inner.pool;
        (0..pool.enums.len() as u32)
            .filter(|at| self.is_given(pool.enumeration(*at).file))
            .map(|index| Enum { pool: pool.clone(), index })
    }

    fn is_given(&self, file: u32) -> bool {
        self.inner.files.get(file as usize).is_some_and(|file| file.given)
    }

    /// All files, the given ones first.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &File> {
        self.inner.files.iter()
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.inner.places.get(name).map(|at| &self.inner.files[*at])
    }

    /// The file that declares a message, field, oneof, enum, enum value, service, method or extension of this full name.
    pub fn file_containing(&self, symbol: &str) -> Option<&File> {
        self.file(self.inner.pool.raw.file_containing_symbol(symbol)?.name.as_deref()?)
    }

    /// The file that declares the extension of a message with this number.
    pub fn file_containing_extension(&self, message: &str, number: u32) -> Option<&File> {
        let pool = &self.inner.pool;
        let extension = pool.message(pool.message_named(message)?).extensions.get(&number)?;
        self.inner.files.get(pool.extensions[*extension as usize].file as usize)
    }

    /// The numbers of all known extensions of a message, ascending; `None` if there is no such message.
    pub fn extension_numbers(&self, message: &str) -> Option<Vec<u32>> {
        let pool = &self.inner.pool;
        let mut numbers: Vec<u32> =
            pool.message(pool.message_named(message)?).extensions.keys().copied().collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    /// A file and all it imports, imports first.
    pub fn file_with_imports(&self, name: &str) -> Vec<&File> {
        let mut done = Vec::new();
        let mut seen = HashSet::new();
        // Depth first without recursion: a file is pushed again to be taken when its imports are.
        let mut stack: Vec<(&File, bool)> = self.file(name).map(|file| (file, false)).into_iter().collect();
        while let Some((file, imports_done)) = stack.pop() {
            if imports_done {
                done.push(file);
            } else if seen.insert(&file.name) {
                stack.push((file, true));
                stack.extend(
                    file.dependencies.iter().rev().filter_map(|name| Some((self.file(name)?, false))),
                );
            }
        }
        done
    }

    /// All given files as an encoded `google.protobuf.FileDescriptorSet`, imports first.
    pub fn descriptor_set(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        for root in self.files().filter(|file| file.given) {
            for file in self.file_with_imports(&root.name) {
                if seen.insert(&file.name) {
                    crate::wire::put_bytes(&mut out, 1, &file.bytes);
                }
            }
        }
        out
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services().iter().map(|service| service.full_name.as_str());
        f.debug_struct("Schema").field("services", &services.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
