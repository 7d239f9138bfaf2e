//! An SFTP server in the test's process that does what no honest one does: it stops in the middle, cuts
//! files, or keeps silent. It takes a password, in one message or in a dialogue.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use alipayhk_gateway::{alipay::sftp::SftpSettings, domain::accounts::host_key::HostKey};
use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::{HashAlg, PrivateKey, ssh_key::private::Ed25519Keypair},
    server::{self, Auth, ChannelOpenHandle, Msg, Response, Session},
};
use russh_sftp::protocol::{
    Attrs, Data, FileAttributes, Handle, OpenFlags, Status, StatusCode, Version,
};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_util::task::TaskTracker;

use super::sshd::settings;

const PASSWORD: &str = "open sesame";

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing.
    Honest,
    /// It asks for the password in a dialogue only.
    Asks,
    /// Files end earlier than it says.
    Cuts,
    /// It never answers a read of a settlement file.
    StallsAtSettlements,
    /// It takes connections and says nothing.
    IsSilent,
}

/// The server, until it is dropped.
pub(crate) struct FakeSftp {
    port: u16,
    pin: HostKey,
    accepting: AbortHandle,
}

impl Drop for FakeSftp {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FakeSftp {
    /// Serves these files, by their whole paths.
    pub(crate) async fn start(manner: Manner, files: &[(&str, &[u8])]) -> Self {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        let pin = HostKey {
            sha256: key.fingerprint(HashAlg::Sha256).sha256().expect("SHA-256"),
            kind: None,
        };
        let methods = match manner {
            Manner::Asks => MethodSet::from(&[MethodKind::KeyboardInteractive][..]),
            _ => MethodSet::from(&[MethodKind::Password][..]),
        };
        let config = Arc::new(server::Config {
            keys: vec![key],
            methods,
            auth_rejection_time: std::time::Duration::ZERO,
            auth_rejection_time_initial: None,
            ..server::Config::default()
        });
        let files = files.iter();
        let files = files.map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        let files: Arc<HashMap<_, _>> = Arc::new(files.collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let accepting = TaskTracker::new().spawn(async move {
            let mut silent = vec![];
            while let Ok((stream, _)) = listener.accept().await {
                if manner == Manner::IsSilent {
                    silent.push(stream);
                    continue;
                }
                let visitor = Visitor {
                    manner,
                    files: Arc::clone(&files),
                    channels: HashMap::new(),
                };
                if let Ok(running) = server::run_stream(Arc::clone(&config), stream, visitor).await
                {
                    TaskTracker::new().spawn(running);
                }
            }
        });
        Self {
            port,
            pin,
            accepting: accepting.abort_handle(),
        }
    }

    /// How to fetch from here.
    pub(crate) fn settings(&self) -> SftpSettings {
        SftpSettings {
            host_keys: vec![self.pin.clone()],
            ..settings(self.port)
        }
    }
}

struct Visitor {
    manner: Manner,
    files: Arc<HashMap<String, Vec<u8>>>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(if password == PASSWORD && self.manner != Manner::Asks {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Owned(vec![(Cow::Borrowed("Password: "), false)]),
            });
        };
        Ok(if response.next().as_deref() == Some(PASSWORD.as_bytes()) {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        if let Some(channel) = self.channels.remove(&id) {
            let served = Shelf {
                manner: self.manner,
                files: Arc::clone(&self.files),
            };
            russh_sftp::server::run(channel.into_stream(), served).await;
        }
        Ok(())
    }
}

/// The files; a handle is a path.
struct Shelf {
    manner: Manner,
    files: Arc<HashMap<String, Vec<u8>>>,
}

impl russh_sftp::server::Handler for Shelf {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusCode> {
        Ok(Version::new())
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        let mut attrs = FileAttributes::empty();
        if path.ends_with('/') {
            attrs.set_dir(true);
            return Ok(Attrs { id, attrs });
        }
        let file = self.files.get(&path).ok_or(StatusCode::NoSuchFile)?;
        let missing = if self.manner == Manner::Cuts { 10 } else { 0 };
        attrs.set_regular(true);
        attrs.size = Some(u64::try_from(file.len()).expect("a length") + missing);
        attrs.mtime = Some(1_767_000_000);
        Ok(Attrs { id, attrs })
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        _: OpenFlags,
        _: FileAttributes,
    ) -> Result<Handle, StatusCode> {
        let handle = filename;
        Ok(Handle { id, handle })
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, StatusCode> {
        if self.manner == Manner::StallsAtSettlements && handle.contains("settlement") {
            std::future::pending::<()>().await;
        }
        let file = self.files.get(&handle).ok_or(StatusCode::NoSuchFile)?;
        let from = usize::try_from(offset).expect("a length").min(file.len());
        let to = from
            .saturating_add(usize::try_from(len).expect("a length"))
            .min(file.len());
        if from == to {
            return Err(StatusCode::Eof);
        }
        let data = file[from..to].to_vec();
        Ok(Data { id, data })
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusCode> {
        Ok(Status {
            id,
            status_code: StatusCode::Ok,
            error_message: "Ok".to_owned(),
            language_tag: "en".to_owned(),
        })
    }
}
