import { request } from './api.js';
import { openLive } from './live.js';
import { $, Log, avatar, dressAvatar, element, showError } from './view.js';

const STATES = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting', 'signed-out': 'Signed out' };
const TYPING_SHOWN_MS = 4_000;
const TYPING_TOLD_EVERY_MS = 2_500;
const DEFAULT_ROOM = 'lobby';

const log = new Log();
const rooms = new Map();
const unread = new Map();
const people = new Map();
const typing = new Map();
let me;
let server = '';
let closeLive = () => {};
let typingToldAt = 0;

// ---- The stream: one function for each class of message

const handlers = {
  // Every stream begins with this one, also after a reconnect: what follows is all there is.
  Welcome(welcome) {
    server = welcome.server;
    log.clear();
    for (const map of [rooms, people, typing]) map.clear();
    showTyping();
    showState('live');
  },
  Room(room) {
    rooms.set(room.roomId, room);
    showRooms();
  },
  UserUpdate({ kind, userId, name, status, at }) {
    if (kind === 'left') people.delete(userId);
    else people.set(userId, { userId, name, status });
    showPeople();
    if (userId === me.userId && document.activeElement !== $('status')) $('status').value = status;
    if (userId === me.userId || kind === 'present') return;
    if (kind === 'status') log.event(status === '' ? `${name} cleared their status` : `${name} is now: ${status}`, at);
    else log.event(`${name} ${kind}`, at);
  },
  ChatMessage(message) {
    log.message(message, message.userId === me.userId);
    typing.delete(message.userId);
    showTyping();
  },
  RoomActivity({ roomId }) {
    unread.set(roomId, (unread.get(roomId) ?? 0) + 1);
    showRooms();
  },
  Typing({ userId, name }) {
    typing.set(userId, { name, until: Date.now() + TYPING_SHOWN_MS });
    showTyping();
    setTimeout(showTyping, TYPING_SHOWN_MS + 50);
  },
};

function enterRoom() {
  const roomId = currentRoom();
  unread.delete(roomId);
  closeLive();
  closeLive = openLive(roomId, handlers, showState, whyRefused);
  showRooms();
}

async function whyRefused() {
  try {
    await request('GET', '/me');
    const known = await request('GET', '/rooms');
    // A room that nobody knows any more: these rooms live in memory.
    if (!known.some(({ roomId }) => roomId === currentRoom())) location.hash = '';
  } catch (error) {
    if (error.status === 401) return 'signed-out';
  }
  return 'try-again';
}

function currentRoom() {
  return decodeURIComponent(location.hash.slice(1)) || DEFAULT_ROOM;
}

// ---- What is shown

function showState(state) {
  if (state === 'signed-out') {
    showSignIn('You are signed out.');
    return;
  }
  $('connection').dataset.state = state;
  $('connection-text').textContent = state === 'live' && server ? `Live on server ${server}` : STATES[state];
}

function showRooms() {
  const open = currentRoom();
  const items = [...rooms.values()].map(({ roomId, name }) => {
    const link = element('a', { href: `#${encodeURIComponent(roomId)}` }, element('span', { textContent: name }));
    if (roomId === open) link.ariaCurrent = 'page';
    const count = unread.get(roomId) ?? 0;
    if (count > 0) link.append(element('span', { className: 'badge', ariaLabel: `${count} new`, textContent: count }));
    return element('li', {}, link);
  });
  $('rooms').replaceChildren(...items);
  $('room-name').textContent = rooms.get(open)?.name ?? '';
}

function showPeople() {
  const sorted = [...people.values()].toSorted((one, other) => one.name.localeCompare(other.name));
  const items = sorted.map(({ userId, name, status }) => {
    const who = element('span', { className: 'who' }, element('strong', { textContent: name }));
    if (status !== '') who.append(element('span', { className: 'muted', textContent: status }));
    return element('li', { className: 'person' }, avatar(userId, name), who);
  });
  $('people').replaceChildren(...items);
  $('people-count').textContent = sorted.length;
}

function showTyping() {
  const now = Date.now();
  for (const [userId, { until }] of typing) if (until <= now) typing.delete(userId);
  const names = [...typing.values()].map(({ name }) => name);
  const subject = names.length > 2 ? 'Several people are' : `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'}`;
  $('typing').textContent = names.length === 0 ? '' : `${subject} writing …`;
}

function showSignIn(notice = '') {
  closeLive();
  me = undefined;
  $('notice').textContent = notice;
  $('notice').hidden = notice === '';
  $('app').hidden = true;
  $('sign-in').hidden = false;
  $('name').focus();
}

function showApp(user) {
  me = user;
  $('sign-in').hidden = true;
  $('app').hidden = false;
  $('my-name').textContent = me.name;
  dressAvatar($('my-avatar'), me.userId, me.name);
  unread.clear();
  enterRoom();
  $('text').focus();
}

// ---- What people do

/** Sends a form's request; what the server has against it is shown in the form. */
function onSubmit(form, send) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    showError(form);
    try {
      await send();
    } catch (error) {
      if (error.status === 401) showSignIn('You are signed out.');
      else showError(form, error.message);
    }
  });
}

onSubmit($('sign-in-form'), async () => {
  const user = await request('POST', '/sign-in', { name: $('name').value });
  $('sign-in-form').reset();
  showApp(user);
});

onSubmit($('new-room-form'), async () => {
  const { roomId } = await request('POST', '/rooms', { name: $('new-room').value });
  $('new-room-form').reset();
  location.hash = encodeURIComponent(roomId);
});

onSubmit($('status-form'), async () => {
  await request('PUT', '/me/status', { status: $('status').value });
});

onSubmit($('write-form'), async () => {
  const text = $('text').value.trim();
  if (text === '') return;
  await request('POST', `/rooms/${encodeURIComponent(currentRoom())}/messages`, { text });
  // Not what was written meanwhile.
  if ($('text').value.trim() === text) $('write-form').reset();
  typingToldAt = 0;
});

$('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('write-form').requestSubmit();
});

$('text').addEventListener('input', () => {
  if (Date.now() - typingToldAt < TYPING_TOLD_EVERY_MS) return;
  typingToldAt = Date.now();
  // Nobody is the worse if this is lost.
  request('POST', `/rooms/${encodeURIComponent(currentRoom())}/typing`).catch(() => {});
});

$('people-toggle').addEventListener('click', () => {
  const isOpen = $('app').classList.toggle('people-open');
  $('people-toggle').ariaExpanded = String(isOpen);
});

addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && $('app').classList.contains('people-open')) $('people-toggle').click();
});

onSubmit($('sign-out-form'), async () => {
  await request('POST', '/sign-out');
  showSignIn('You are signed out.');
});

addEventListener('hashchange', () => me && enterRoom());

try {
  showApp(await request('GET', '/me'));
} catch (error) {
  showSignIn(error.status === 401 ? '' : error.message);
}
