// This page needs no build step. A page that has one uses `MessagingClient`, which is typed and learns of lost messages.
export const GREETINGS_PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>Greetings</title>
    <script type="module" src="greetings/script.js"></script>
  </head>
  <body>
    <form>
      <input name="text" aria-label="Greeting" required autofocus />
      <button>Post</button>
    </form>
    <ul></ul>
  </body>
</html>
`;

// A file of its own, because a content security policy, such as that of helmet, forbids scripts within pages.
export const GREETINGS_SCRIPT = `const form = document.querySelector('form');
const list = document.querySelector('ul');

// Below a global prefix, and with a slash at the end, too.
const greetings = location.pathname.replace(/\\/$/, '');

// The gateway names each event after its message: see greetings.messages.ts.
const source = new EventSource(greetings + '/../messages?channel=greetings');
source.addEventListener('greeting', ({ data }) => {
  const item = document.createElement('li');
  item.textContent = JSON.parse(data).text;
  list.prepend(item);
});

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: form.elements.text.value });
  form.reset();
  await fetch(greetings, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
});
`;
