import type { AuthenticationInfo } from '../protocol/authentication.js';

/** The user of a session; `null`: nobody; `undefined`: unknown because of a failure that has been reported. */
export type Answer = AuthenticationInfo | null | undefined;

/** Finds the user of a session. Its promise never rejects. @param request - {@link SessionInit.request} */
export type AskAuthentication = (request: unknown) => Answer | Promise<Answer>;

/** How a session is opened. */
export interface SessionInit {
  /** The user. A function is called when the answer is first needed, and again until the answer is not `null`. */
  readonly auth?: AuthenticationInfo | null | AskAuthentication | undefined;
  /** The argument of a function {@link auth}, so that all sessions share one function. */
  readonly request?: unknown;
  /** Closes the session when aborted. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How many revocations this node knew when the user came: later ones withdraw the sign-in.
   * @defaultValue as many as now
   */
  readonly since?: number | undefined;
}
