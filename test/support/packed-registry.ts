import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import type { PackedPackage } from './packed-pair.js';

/** An npm registry that serves these packages as if they were published, and redirects other requests to the usual one. */
export class PackedRegistry implements Disposable {
  private readonly tarballs = new Map<string, Buffer>();
  private readonly packuments = new Map<string, object>();
  private readonly usual = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
  private readonly server: Server;

  private constructor(private readonly packages: readonly PackedPackage[]) {
    this.server = createServer(({ url = '/' }, response) => {
      const name = decodeURIComponent(url.slice(1));
      const [tarball, packument] = [this.tarballs.get(name), this.packuments.get(name)];
      if (tarball !== undefined) response.end(tarball);
      else if (packument !== undefined) response.end(JSON.stringify(packument));
      else response.writeHead(302, { location: new URL(url.slice(1), this.usual).href }).end();
    });
  }

  static async start(packages: readonly PackedPackage[]): Promise<PackedRegistry> {
    const registry = new PackedRegistry(packages);
    await once(registry.server.listen(0, '127.0.0.1'), 'listening');
    registry.publish();
    return registry;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  [Symbol.dispose](): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private publish(): void {
    for (const { tarball, manifest } of this.packages) {
      const [file, content] = [basename(tarball), readFileSync(tarball)];
      const integrity = `sha512-${createHash('sha512').update(content).digest('base64')}`;
      const { name, version } = manifest;
      const versions = { [version]: { ...manifest, dist: { tarball: this.url + file, integrity } } };
      this.tarballs.set(file, content);
      this.packuments.set(name, { name, 'dist-tags': { latest: version }, versions });
    }
  }
}
