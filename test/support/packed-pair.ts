import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Manifest {
  name: string;
  version: string;
  exports: Record<string, unknown>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  peerDependenciesMeta?: Record<string, { optional: boolean }>;
}

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a script or a tool of this repository in Node and gives its output; its failure is the test's. */
export function run(cwd: string, ...args: string[]): string {
  try {
    return execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`node ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** The installed packages of a package of this repository. */
export function tool(path: string): string {
  return join(REPOSITORY, 'node_modules', path);
}

/** A package as it is published. */
export class PackedPackage {
  readonly manifest: Manifest;

  /** @param folder - where the files of the tarball are */
  constructor(
    readonly tarball: string,
    readonly folder: string,
  ) {
    mkdirSync(folder, { recursive: true });
    execFileSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', folder]);
    this.manifest = JSON.parse(this.text('package.json')) as Manifest;
  }

  files(): string[] {
    const entries = readdirSync(this.folder, { recursive: true, encoding: 'utf8' });
    return entries.map((file) => file.replaceAll('\\', '/'));
  }

  /** Puts it among the packages of a project, as a package manager does. */
  copyTo(project: string): void {
    cpSync(this.folder, join(project, 'node_modules', this.manifest.name), { recursive: true });
  }

  text(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8');
  }
}

/** The two packages as published, and projects that have them. */
export class PackedPair implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'nestjs-messaging-package-'));
  readonly client: PackedPackage;
  readonly server: PackedPackage;

  constructor() {
    // Into a folder of its own: other suites may pack at the same time.
    const packages = join(this.folder, 'packages');
    const tarballs = run(REPOSITORY, '.ci/pack.mjs', packages).trim().split('\n');
    const [client, server] = tarballs.map(
      (tarball, index) => new PackedPackage(join(packages, tarball), join(this.folder, `packed-${index}`)),
    );
    this.client = client!;
    this.server = server!;
  }

  /** Creates a project with only these packages, and links to packages of this repository. */
  createProject(name: string, packed: readonly PackedPackage[], packages: readonly string[] = []): string {
    const project = this.createEmpty(name);
    for (const each of packed) each.copyTo(project);
    link(project, packages);
    return project;
  }

  /** Creates a project in which npm installs the tarballs. npm may not use the network for more. */
  install(name: string, packed: readonly PackedPackage[], packages: readonly string[] = []): string {
    const project = this.createEmpty(name);
    const args = ['install', '--offline', '--legacy-peer-deps', '--ignore-scripts', '--no-audit', '--no-fund'];
    execFileSync('npm', [...args, ...packed.map(({ tarball }) => tarball)], { cwd: project, stdio: 'pipe' });
    link(project, packages);
    return project;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private createEmpty(name: string): string {
    const project = join(this.folder, name);
    mkdirSync(join(project, 'node_modules'), { recursive: true });
    writeFileSync(join(project, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }));
    return project;
  }
}

function link(project: string, packages: readonly string[]): void {
  for (const installed of packages) {
    const place = join(project, 'node_modules', installed);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(tool(installed), place, 'junction');
  }
}
