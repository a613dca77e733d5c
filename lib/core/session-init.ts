import type { AuthenticationInfo } from '../protocol/authentication.js';

/** Who is behind a session; `null`: nobody; `undefined`: that could not be found out, which has been reported. */
export type Answer = AuthenticationInfo | null | undefined;

/** Finds out who is behind a session. A promise that it gives does not reject. */
export type AskAuthentication = () => Answer | Promise<Answer>;

/** How a session is opened. */
export interface SessionInit {
  /** Who is behind it. A function is asked when the answer is first needed, and again until it is not `null`. */
  readonly auth?: AuthenticationInfo | null | AskAuthentication | undefined;
  /** Closes the session when aborted. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How many revocations this node had known when whoever is behind it came: later ones withdraw their sign-in.
   * @defaultValue as many as now
   */
  readonly since?: number | undefined;
}
