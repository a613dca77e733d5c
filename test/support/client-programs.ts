import { build } from 'esbuild';
import type { Browser, BrowserContext, JSHandle, Page } from 'playwright-core';
import type { MessageGap } from 'nestjs-messaging/client';
import { ClientKit, type Note, type NotedStatus } from './client-kit.js';
import type { FaultyProxy } from './client-proxy.js';
import { Queue } from './queue.js';

/** Where a client runs. Code given to it sees only its arguments, because it may be sent to a page. */
export abstract class ClientProgram implements AsyncDisposable {
  readonly statuses = new Queue<NotedStatus>();
  readonly gaps = new Queue<MessageGap>();
  /** The reports to `onError` of the client. */
  readonly errors = new Queue<string>();
  readonly words = new Queue<{ word: string; value: unknown }>();
  /** Uncaught errors. */
  readonly failures: string[] = [];
  readonly #messages = new Map<string, Queue<{ message: unknown; context: unknown }>>();

  /** Runs code in the program. */
  abstract run<T, R = void>(code: (kit: ClientKit, given: T) => R | Promise<R>, given?: T): Promise<R>;

  /** Disconnects the network, or restores it. */
  abstract setOnline(isOnline: boolean): Promise<void>;

  abstract [Symbol.asyncDispose](): Promise<void>;

  /** The messages that the listener of this name has received. */
  messages(listener: string): Queue<{ message: unknown; context: unknown }> {
    let queue = this.#messages.get(listener);
    if (!queue) this.#messages.set(listener, (queue = new Queue()));
    return queue;
  }

  /** The text of the next chat message that a listener gets. */
  async text(listener: string): Promise<string> {
    const { message } = await this.messages(listener).next();
    return (message as { ChatMessage: { text: string } }).ChatMessage.text;
  }

  /** Waits for a status and skips others. */
  reaches(state: NotedStatus['state']): Promise<NotedStatus> {
    return this.statuses.until((status) => status.state === state);
  }

  protected readonly take = (text: string): void => {
    const note = JSON.parse(text) as Note;
    switch (note.about) {
      case 'message':
        return this.messages(note.listener).push({ message: note.message, context: note.context });
      case 'status': {
        const { about: _, ...status } = note;
        return this.statuses.push(status);
      }
      case 'gap':
        return this.gaps.push(note.gap);
      case 'error':
        return this.errors.push(note.channel === undefined ? note.text : `${note.channel}: ${note.text}`);
      case 'word':
        return this.words.push({ word: note.word, value: note.value });
    }
  };
}

/** This process. Jest fails the running test on an unhandled rejection. */
export class NodeProgram extends ClientProgram {
  readonly #kit = new ClientKit(this.take);

  constructor(private readonly proxy: FaultyProxy) {
    super();
    this.#kit.connect(`${proxy.url}/messages`);
  }

  async run<T, R = void>(code: (kit: ClientKit, given: T) => R | Promise<R>, given?: T): Promise<R> {
    return code(this.#kit, given as T);
  }

  async setOnline(isOnline: boolean): Promise<void> {
    if (isOnline) this.proxy.accept();
    else this.proxy.refuse();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#kit.client.close();
  }
}

let bundle: Promise<string> | undefined;

/** The kit and its dependencies, as a page loads them. */
function bundled(): Promise<string> {
  return (bundle ??= build({
    stdin: {
      contents: `import { ClientKit } from './client-kit.ts'; globalThis.kit = new ClientKit((text) => globalThis.note(text));`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  }).then(({ outputFiles }) => outputFiles[0]!.text));
}

/** A tab of Chromium that shows one page after another, because opening a tab is slow. */
export class Tab implements AsyncDisposable {
  /** The reports of its page. */
  receiver: { note(text: string): void; failure(text: string): void } | undefined;

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
  ) {
    page.on('pageerror', (error) => this.receiver?.failure(String(error)));
    page.on('console', (line) => {
      // Chromium logs each failed request, and many are meant to fail.
      const isExpected = line.type() !== 'error' || line.text().startsWith('Failed to load resource');
      if (!isExpected) this.receiver?.failure(line.text());
    });
  }

  static async open(browser: Browser): Promise<Tab> {
    const context = await browser.newContext();
    const tab = new Tab(context, await context.newPage());
    await tab.page.exposeFunction('note', (text: string) => tab.receiver?.note(text));
    return tab;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.context.close();
  }
}

/** A page of the same origin as the gateway. */
export class PageProgram extends ClientProgram {
  private constructor(private readonly tab: Tab) {
    super();
    tab.receiver = { note: this.take, failure: (text) => this.failures.push(text) };
  }

  static async start(tab: Tab, proxy: FaultyProxy): Promise<PageProgram> {
    proxy.serve(
      '/page',
      'text/html',
      '<!doctype html><title>page</title><script type="module" src="/page.js"></script>',
    );
    proxy.serve('/page.js', 'text/javascript', await bundled());
    proxy.serve('/favicon.ico', 'image/x-icon', '');
    const program = new PageProgram(tab);
    await tab.page.goto(`${proxy.url}/page`);
    await program.run((kit) => kit.connect('/messages'));
    return program;
  }

  async run<T, R = void>(code: (kit: ClientKit, given: T) => R | Promise<R>, given?: T): Promise<R> {
    const kit = await this.tab.page.evaluateHandle('kit');
    return (kit as JSHandle<ClientKit>).evaluate(code as (kit: ClientKit, given: unknown) => R | Promise<R>, given);
  }

  async setOnline(isOnline: boolean): Promise<void> {
    await this.tab.context.setOffline(!isOnline);
  }

  /** Leaves the page, as a user who follows a link does. */
  async leave(): Promise<void> {
    await this.tab.page.goto('about:blank');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
    await this.setOnline(true);
    this.tab.receiver = undefined;
  }
}
