import { Inject, Injectable } from '@nestjs/common';
import { inTime } from '../core/in-time.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { isThenable } from '../protocol/promises.js';
import { readAuthentication } from '../protocol/read-authentication.js';
import { errorText } from './log-text.js';
import { LoggingReporter } from './logging-reporter.js';
import { MESSAGING_OPTIONS, type ResolvedMessagingOptions } from './messaging-options.js';

/** How long an asynchronous `authenticate` may take. */
const TIMEOUT_MS = 10_000;
/** How many faults of the answers are told; what a getter throws may differ each time. */
const MAX_TOLD = 10;

/** `undefined`: that could not be found out, which has been reported. */
type Answer = AuthenticationInfo | null | undefined;

/** Finds out who is behind a request, by the option `authenticate`. Whatever goes wrong is reported, and gives `undefined` or nobody. */
@Injectable()
export class Authenticator {
  private readonly toldOf = new Set<string>();

  constructor(
    private readonly reporter: LoggingReporter,
    @Inject(MESSAGING_OPTIONS) private readonly options: ResolvedMessagingOptions,
  ) {}

  /** Whether the application has said how, so that the answer may take time. */
  get isCustom(): boolean {
    return this.options.authenticate !== undefined;
  }

  /** Never throws or rejects. */
  ask(request: object): Answer | Promise<Answer> {
    const { authenticate } = this.options;
    if (authenticate === undefined) return this.take(() => (request as { user?: unknown }).user, 'request.user');
    return this.take(() => authenticate(request), 'Option "authenticate"');
  }

  /**
   * Takes the answer of a function of the application, which may be a promise. Never throws or rejects.
   *
   * @param source - what the function is, for logs
   */
  take(ask: () => unknown, source: string): Answer | Promise<Answer> {
    try {
      const answer = ask();
      return isThenable(answer) ? this.takeLater(answer, source) : this.read(answer, source);
    } catch (error) {
      return this.failed(error, source);
    }
  }

  private async takeLater(answer: PromiseLike<unknown>, source: string): Promise<Answer> {
    try {
      return this.read(await inTime(answer, TIMEOUT_MS, noAnswer, { unref: true }), source);
    } catch (error) {
      return this.failed(error, source);
    }
  }

  private read(answer: unknown, source: string): Answer {
    if (answer === null || answer === undefined || answer === false) return null;
    try {
      return readAuthentication(answer);
    } catch (error) {
      this.tellOnce(
        source === 'request.user'
          ? `A request's user was taken as nobody: ${errorText(error)}; tell who it is with the option "authenticate" of ` +
              'MessagingModule: authenticate: ({ user }) => user && { userId: String(user.…) }'
          : `${source} gave a user that was taken as nobody: ${errorText(error)}`,
      );
      return null;
    }
  }

  private failed(error: unknown, source: string): undefined {
    this.reporter.warn(`failed: ${source}`, `${source} failed; taken as nobody: ${errorText(error)}`);
    return undefined;
  }

  /** A fault of the application's code, which is the same for each request. */
  private tellOnce(text: string): void {
    if (this.toldOf.has(text) || this.toldOf.size >= MAX_TOLD) return;
    this.toldOf.add(text);
    this.reporter.warn('authentication', text);
  }
}

function noAnswer(): never {
  throw new Error(`it did not answer within ${TIMEOUT_MS} ms`);
}
