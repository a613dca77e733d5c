import type { RoomEntry } from '../rooms/rooms.messages.js';
import { ApiError, request, untilReachable } from './api.js';
import { dressAvatar } from './avatar.js';
import { $, showError, shownError } from './dom.js';
import { addressOf } from './room-list.js';
import { Visit, type Me } from './visit.js';

const text = $('text', HTMLTextAreaElement);
const isPrivate = $('new-room-private', HTMLInputElement);

let visit: Visit | undefined;

function showSignIn(notice = ''): void {
  visit?.end();
  visit = undefined;
  $('notice').textContent = notice;
  $('notice').hidden = notice === '';
  $('app').hidden = true;
  $('sign-in').hidden = false;
  $('name').focus();
}

function showApp(me: Me): void {
  $('sign-in').hidden = true;
  $('app').hidden = false;
  $('my-name').textContent = me.name;
  dressAvatar($('my-avatar'), me.userId, me.name);
  visit = new Visit(me, showSignIn);
  text.focus();
}

/** Sends what a form is for; what the server has against it is shown in the form. */
function onSubmit(id: string, send: () => Promise<void>): void {
  const form = $(id, HTMLFormElement);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    showError(form);
    send().catch((error: Error) => {
      if (error instanceof ApiError && error.status === 401) showSignIn('You are signed out.');
      else showError(form, error.message);
      if (error instanceof ApiError && error.isUnreachable) void untilReachable().then(() => clearError(form, error));
    });
  });
}

/** Once the server is there again, the page does not say any more that it is not. */
function clearError(form: HTMLFormElement, error: Error): void {
  if (shownError(form) === error.message) showError(form);
}

/** What is in a field. */
function valueOf(id: string): string {
  return $(id, HTMLInputElement).value;
}

onSubmit('sign-in-form', async () => {
  const me = await request<Me>('POST', '/sign-in', { name: valueOf('name') });
  $('sign-in-form', HTMLFormElement).reset();
  showApp(me);
});

onSubmit('sign-out-form', async () => {
  await request('POST', '/sign-out');
  visit?.discardDrafts();
  showSignIn('You are signed out.');
});

onSubmit('new-room-form', async () => {
  const room = await request<RoomEntry>('POST', '/rooms', { name: valueOf('new-room'), isPrivate: isPrivate.checked });
  $('new-room-form', HTMLFormElement).reset();
  visit?.addRoom(room);
  location.hash = addressOf(room.roomId);
});

onSubmit('invite-form', async () => {
  await visit?.room?.invite(valueOf('invite'));
  $('invite-form', HTMLFormElement).reset();
});

onSubmit('status-form', async () => {
  await request('PUT', '/me/status', { status: valueOf('status') });
});

onSubmit('write-form', async () => {
  await visit?.write();
});

text.addEventListener('input', () => visit?.draft());

text.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('write-form', HTMLFormElement).requestSubmit();
});

$('people-toggle').addEventListener('click', () => {
  const isOpen = $('app').classList.toggle('people-open');
  $('people-toggle').ariaExpanded = String(isOpen);
});

addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && $('app').classList.contains('people-open')) $('people-toggle').click();
});

addEventListener('hashchange', () => {
  visit?.openRoom();
  text.focus();
});

async function begin(): Promise<void> {
  try {
    showApp(await request<Me>('GET', '/me'));
  } catch (error) {
    const { status, message, isUnreachable } = error as ApiError;
    showSignIn(status === 401 ? '' : message);
    if (!isUnreachable) return;
    await untilReachable();
    // Unless the person was faster.
    if (visit === undefined) await begin();
  }
}

void begin();
