import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from './redis-server.js';

// Not on everyone's path.
const DEBIANS = '/usr/sbin/nginx';

/** A real nginx on a free port that shares requests among servers. */
export class Nginx implements AsyncDisposable {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  /** @param ports - those of the servers, on the loopback interface */
  static async start(ports: readonly number[]): Promise<Nginx> {
    const folder = await mkdtemp(path.join(tmpdir(), 'nginx-'));
    const port = await freePort();
    const file = path.join(folder, 'nginx.conf');
    await writeFile(file, configuration(folder, port, ports));
    const program = existsSync(DEBIANS) ? DEBIANS : 'nginx';
    const child = spawn(program, ['-c', file, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
    const lines = createInterface(child.stderr);
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`nginx ended with ${code}`)));
      lines.on('line', (line) => line.includes('start worker process') && resolve());
    });
    return new Nginx(`http://127.0.0.1:${port}`, child, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
    await rm(this.folder, { recursive: true });
  }
}

/** The configuration from docs/operations.md, for these servers. */
function configuration(folder: string, port: number, ports: readonly number[]): string {
  const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const [, shown] = /^```nginx\n(.*?)^```/ms.exec(page)!;
  const servers = ports.map((each) => `server 127.0.0.1:${each} max_fails=0;`).join(' ');
  const sites = shown!
    .replace(/(?:^ *server [\d.:]+ max_fails=0;\n)+/m, `${servers}\n`)
    .replace('server {', `server { listen 127.0.0.1:${port};`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off; pid ${folder}/pid; error_log stderr notice; worker_processes 1;
events { worker_connections 1000; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  ${sites}
}`;
}
