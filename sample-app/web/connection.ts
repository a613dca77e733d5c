import { MessagingClient, type ClientStatus } from 'nestjs-messaging/client';
import { ServerStatuses } from '../servers/server-status.messages.js';
import { $ } from './dom.js';

/** Told of failures; `channel`: the one that it is about. */
export type ErrorListener = (error: unknown, context?: { readonly channel?: string }) => void;

/** The server at the other end of the connection. */
interface Server {
  readonly name: string;
  /** Whether it does not hear the other servers. */
  readonly isCutOff: boolean;
}

/**
 * The connection of the page: one, whatever it subscribes to. How it stands is shown.
 *
 * @param onEnd - called when the server has ended it for good, with a sentence that says why
 */
export function connect(onEnd: (why: string) => void, onError: ErrorListener): MessagingClient {
  const server = { name: '', isCutOff: false };
  let countdown: ReturnType<typeof setInterval> | undefined;
  const client = new MessagingClient({
    url: '/messages',
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      // Of the stream only: behind a load balancer, other requests may be answered by other servers.
      if (isStream(response)) {
        server.name = decodeURIComponent(response.headers.get('x-server') ?? '');
        server.isCutOff = response.headers.get('x-server-cut-off') === 'true';
      }
      return response;
    },
    onError,
  });
  client.onStatus((status) => {
    clearInterval(countdown);
    show(status, server);
    if (status.state === 'waiting') countdown = setInterval(() => show(status, server), 1_000);
    if (status.state === 'closed' && status.reason !== 'close') onEnd(whyClosed(status));
  });
  client
    .subscribe(ServerStatuses, ({ isCutOff }) => {
      server.isCutOff = isCutOff;
      show(client.status, server);
    })
    .catch(onError);
  return client;
}

function isStream(response: Response): boolean {
  return response.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
}

function show({ state, retryAt = 0 }: ClientStatus, { name, isCutOff }: Server): void {
  const live = name === '' ? 'Live' : `Live on server ${name}`;
  const texts = {
    idle: '',
    connecting: 'Connecting',
    open: isCutOff ? 'Cut off, read only' : live,
    waiting: 'Reconnecting',
    closed: 'Signed out',
  };
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
  $('connection').dataset['state'] = state === 'open' && isCutOff ? 'cut-off' : state;
  $('cut-off').hidden = state !== 'open' || !isCutOff;
  setText($('connection-text'), texts[state]);
  // Beside the text, and not read aloud: who listens to the page is told of the states, not of each second.
  setText($('countdown'), state === 'waiting' ? `in ${seconds} s` : '');
}

function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function whyClosed({ reason, error }: ClientStatus): string {
  return reason === 'revoked' || reason === 'refused'
    ? 'You are signed out.'
    : (error?.message ?? 'The chat is closed.');
}
