# The command line for the recipes beside this file (`recipes` is their folder): of a clone its sources, of an installed package itself.
openelm() {
  if [ -e "$recipes/../src/app/cli.ts" ]; then
    node --import "file://$recipes/../node_modules/tsx/dist/loader.mjs" "$recipes/../src/app/cli.ts" "$@"
  else
    node "$recipes/../dist/app/cli.js" "$@"
  fi
}
