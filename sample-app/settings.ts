import { randomBytes } from 'node:crypto';

/** What differs from one start of the application to the next. */
export class Settings {
  /** What the page calls this server; empty if there is only one. */
  readonly serverName: string;
  /** The Redis that joins servers; without one, this server is alone. */
  readonly redisUrl: string | undefined;
  /** Signs the cookies; the servers of one application share it. */
  readonly sessionSecret: string;

  constructor({ serverName = '', redisUrl, sessionSecret }: { [Name in keyof Settings]?: string | undefined } = {}) {
    this.serverName = serverName;
    this.redisUrl = redisUrl;
    // A secret of the moment is safe to start with: all it costs is that a restart signs everybody out.
    this.sessionSecret = sessionSecret ?? randomBytes(32).toString('base64url');
  }

  static fromEnvironment(env: NodeJS.ProcessEnv): Settings {
    const { SERVER_NAME: serverName, REDIS_URL: redisUrl, SESSION_SECRET: sessionSecret } = env;
    return new Settings({ serverName, redisUrl: redisUrl || undefined, sessionSecret: sessionSecret || undefined });
  }
}
