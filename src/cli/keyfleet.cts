#!/usr/bin/env node
// The executable. Servers that sync many files at once need more threads for it than Node's four, and that can only be said before the
// first of them is used, which loading an ES module does already: hence this small CommonJS file in front.
process.env['UV_THREADPOOL_SIZE'] ??= '16';
void import('./main.js');
