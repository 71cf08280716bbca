// Sets the colours before anything is drawn: those that Airflow shows around the page, else the system's.
// A classic script, so that it runs before the first paint.
(() => {
  const here = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  /** Airflow's own document, where it frames this page; null where the page is opened by itself. */
  const outer = (() => {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null;
    }
  })();

  function stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function wanted() {
    const shown = outer && (outer.dataset.theme || (/(^|\s)(dark|light)(\s|$)/.exec(outer.className) || [])[2]);
    const chosen = shown || stored();
    return chosen === "dark" || chosen === "light" ? chosen : system.matches ? "dark" : "light";
  }

  function apply() {
    here.dataset.theme = wanted();
  }

  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  if (outer) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
})();
