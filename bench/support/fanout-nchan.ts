// nginx with its module nchan, which publishes HTTP requests to event streams: in a separate process, beside ours.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../test/support/redis-server.js';
import type { PriceChange } from './fanout-event.js';
import type { FanoutServer } from './fanout-node.js';
import { pin } from './pinned-process.js';
import { whenOpen } from './when-open.js';

/** Of Debian's and Ubuntu's package libnginx-mod-nchan. */
const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so';

/** Whether nginx can run here. */
export const hasNchan = existsSync(MODULE);

/** Its one worker is on the servers' core; its CPU is read from outside. */
export async function nchan(): Promise<FanoutServer> {
  const http = createServer().listen(0, '127.0.0.1');
  await once(http, 'listening');
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'bench-nchan-'));
  writeFileSync(join(folder, 'nginx.conf'), configuration(port, folder));
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
  process.on('exit', () => {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await whenOpen(port);
  const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim());
  pin({ pid }, 0);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    http,
    outside: { port, cpu: () => cpuOf(pid) },
    post: (event: PriceChange) => {
      const body = JSON.stringify(event);
      const headers = { 'content-type': 'application/json', 'x-eventsource-event': 'PriceChange' };
      request({ agent, host: '127.0.0.1', port, path: '/post', method: 'POST', headers }, (response) =>
        response.resume(),
      ).end(body);
    },
  };
}

/** In microseconds, as Linux counts it for the tasks of a process. */
function cpuOf(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce((sum, task) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
    return sum + Number(nanoseconds) / 1_000;
  }, 0);
}

function configuration(port: number, folder: string): string {
  return `
load_module ${MODULE};
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log ${folder}/error.log;
events { worker_connections 20000; }
http {
  access_log off;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server {
    listen 127.0.0.1:${port};
    location /events { nchan_subscriber eventsource; nchan_channel_id prices; nchan_subscriber_first_message newest; }
    location /post { nchan_publisher; nchan_channel_id prices; }
  }
}
`;
}
