//! A network between a client and a server, which can be cut.

use std::net::SocketAddr;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::port::Port;

/// The largest number of bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// The largest number of chunks on their way, in each direction of a connection. Together with the
/// delay it limits the bandwidth.
const CHUNKS: usize = 64;

/// A TCP proxy on 127.0.0.1 in front of an address.
///
/// Each method returns when its effect has happened. Everything ends when this value is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
}

/// A change of the link. It has happened when the sender is dropped.
type Command = (Change, blocking::Sender<()>);

#[derive(Debug)]
enum Change {
    Cut,
    DropConnections,
    Freeze,
    Mend,
    Delay(Duration),
}

/// How connections forward.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    frozen: bool,
    delay: Duration,
}

/// A chunk of bytes and the time at which it arrives.
type Delayed = (Instant, Vec<u8>);

/// Two connected sockets, which are reset unless everything was forwarded.
struct Ends {
    client: TcpStream,
    server: Option<TcpStream>,
    forwarded: bool,
}

impl Link {
    /// Makes a link to this address.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let port = Port::reserve();
        let address = port.address();
        let (commands, receiver) = mpsc::unbounded_channel();
        let link = Self { address, commands };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        thread::spawn(move || runtime.block_on(run(&port, server, receiver)));
        link.change(Change::Mend);
        link
    }

    /// The address that clients connect to. It stays the same.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections, and refuses new ones until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.change(Change::Cut);
    }

    /// Resets all connections. New ones are accepted.
    pub fn drop_connections(&self) {
        self.change(Change::DropConnections);
    }

    /// Makes the link a black hole until [`mend`](Self::mend): it accepts connections, but reads
    /// and writes nothing, so that the buffers of the operating system fill.
    pub fn freeze(&self) {
        self.change(Change::Freeze);
    }

    /// Ends [`cut`](Self::cut) and [`freeze`](Self::freeze). What a frozen link holds arrives.
    pub fn mend(&self) {
        self.change(Change::Mend);
    }

    /// Delays everything that is read from now on, in each direction.
    pub fn delay(&self, each_way: Duration) {
        self.change(Change::Delay(each_way));
    }

    fn change(&self, change: Change) {
        let (done, happened) = blocking::channel();
        self.commands.send((change, done)).expect("the link runs");
        let _sender_was_dropped = happened.recv();
    }
}

async fn run(port: &Port, server: SocketAddr, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut listener = None;
    let mut connections = JoinSet::new();
    let flow = watch::Sender::new(Flow::default());
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some((change, _done)) = command else { return };
                match change {
                    Change::Cut => {
                        listener = None;
                        connections.shutdown().await;
                    }
                    Change::DropConnections => connections.shutdown().await,
                    Change::Freeze => flow.send_modify(|flow| flow.frozen = true),
                    Change::Mend => {
                        flow.send_modify(|flow| flow.frozen = false);
                        if listener.is_none() {
                            let bound = TcpListener::bind(port.address()).await;
                            listener = Some(bound.expect("the reserved port"));
                        }
                    }
                    Change::Delay(delay) => flow.send_modify(|flow| flow.delay = delay),
                }
            }
            client = accept(listener.as_ref()), if listener.is_some() => {
                if let Some(client) = client {
                    connections.spawn(connect(client, server, flow.subscribe()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    Some(listener?.accept().await.ok()?.0)
}

/// Forwards both directions until both sides have closed theirs, or one side fails.
async fn connect(client: TcpStream, server: SocketAddr, flow: watch::Receiver<Flow>) {
    let mut ends = Ends { client, server: None, forwarded: false };
    if thawed(&flow).await.is_none() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    for socket in [&ends.client, &server] {
        let _only_slower = socket.set_nodelay(true);
    }
    let (from_client, to_client) = ends.client.split();
    let (from_server, to_server) = ends.server.insert(server).split();
    let both = tokio::try_join!(
        forward(from_client, to_server, &flow),
        forward(from_server, to_client, &flow),
    );
    ends.forwarded = both.is_ok();
}

/// Forwards one direction until its source is closed, and then closes its target.
async fn forward(
    source: ReadHalf<'_>,
    target: WriteHalf<'_>,
    flow: &watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::try_join!(read(source, sender, flow), write(target, receiver, flow))?;
    Ok(())
}

async fn read(
    mut source: ReadHalf<'_>,
    sender: mpsc::Sender<Delayed>,
    flow: &watch::Receiver<Flow>,
) -> std::io::Result<()> {
    while let Ok(place) = sender.reserve().await {
        let mut chunk = Vec::with_capacity(CHUNK);
        if thawed(flow).await.is_none() || source.read_buf(&mut chunk).await? == 0 {
            break;
        }
        let delay = flow.borrow().delay;
        place.send((Instant::now() + delay, chunk));
    }
    Ok(())
}

async fn write(
    mut target: WriteHalf<'_>,
    mut receiver: mpsc::Receiver<Delayed>,
    flow: &watch::Receiver<Flow>,
) -> std::io::Result<()> {
    while let Some((arrives, chunk)) = receiver.recv().await {
        sleep_until(arrives).await;
        if thawed(flow).await.is_none() {
            break;
        }
        target.write_all(&chunk).await?;
    }
    target.shutdown().await
}

/// Waits until the link is not frozen. Returns `None` if the link was dropped.
async fn thawed(flow: &watch::Receiver<Flow>) -> Option<()> {
    flow.clone().wait_for(|flow| !flow.frozen).await.ok().map(|_| ())
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.forwarded {
            for socket in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
                let _closed_anyway = socket.set_zero_linger();
            }
        }
    }
}
