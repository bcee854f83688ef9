export default {
  mode: 'production',
  entry: './story.js',
  output: { filename: 'story.js', clean: true },
  stats: 'errors-warnings',
  performance: { hints: false }, // the worker and its WebAssembly modules are no part of what the page waits for
};
