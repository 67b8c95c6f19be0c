/** The version of this build, shown to people and told to the hub. Kept equal to package.json by a tidy test. */
export const version = "0.1.0";
