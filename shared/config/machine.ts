/** What a config check asks of the machine; `machine.driver.ts` answers for this one. */
export interface Machine {
  /**
   * The absolute path of the program that `command` starts: a name is looked up along `path` (as in PATH), one with a
   * slash is taken from `cwd`. A clause says why there is none.
   */
  findProgram(command: string, cwd: string, path: string): { readonly file: string } | { readonly refused: string };
  /** Names of programs along `path`, for did-you-mean; at most 10 000. */
  programs(path: string): readonly string[];
  isFolder(path: string): boolean;
}
