export default {
  base: './',
  worker: { format: 'es' }, // what is needed now and then stays in files of its own
};
