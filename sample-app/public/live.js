const TRY_AGAIN_AFTER_MS = 2_000;

/**
 * Keeps the stream of a room open.
 *
 * @param handlers - by the class of a message, which is the name of its event: a function that takes the message
 * @param onState - told 'connecting', 'live', 'reconnecting' and 'signed-out'
 * @param whyRefused - asked where the server does not give the stream: 'signed-out', or 'try-again'
 * @returns closes it
 */
export function openLive(roomId, handlers, onState, whyRefused) {
  let source;
  let timer;
  let isClosed = false;

  function close() {
    isClosed = true;
    clearTimeout(timer);
    source.close();
  }

  function connect() {
    source = new EventSource(`/live?room=${encodeURIComponent(roomId)}`);
    source.addEventListener('open', () => onState('live'));
    source.addEventListener('error', () => {
      onState('reconnecting');
      // A browser comes back by itself after a cut, but not after an answer like 401 or 502.
      if (source.readyState === EventSource.CLOSED) void askWhy();
    });
    // The last event of a stream whose sign-in has ended, in this tab or another one.
    source.addEventListener('messaging:revoked', () => {
      close();
      onState('signed-out');
    });
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  }

  async function askWhy() {
    const reason = await whyRefused();
    if (isClosed) return;
    if (reason === 'signed-out') {
      close();
      onState('signed-out');
    } else {
      timer = setTimeout(connect, TRY_AGAIN_AFTER_MS);
    }
  }

  onState('connecting');
  connect();
  return close;
}
