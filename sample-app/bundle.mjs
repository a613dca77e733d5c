// Makes the page's script of web/: one small file, with the library's client in it. Takes the folder to put it into.
import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

await build({
  absWorkingDir: root,
  entryPoints: { app: 'sample-app/web/main.ts' },
  outdir: process.argv[2] ?? 'dist/sample-app/public',
  bundle: true,
  minify: true,
  sourcemap: true,
  format: 'esm',
  target: 'es2022',
  // Where it finds the library, here in its own repository: elsewhere the package is all it takes.
  tsconfig: 'tsconfig.json',
  logLevel: 'warning',
});
