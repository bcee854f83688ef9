// Files that are dropped on a part of the page, which shows that it takes them.

/** `takes` is asked whether they are wanted now. */
export function takeDrops(place: HTMLElement, takes: () => boolean, taken: (dropped: DataTransfer) => void): void {
  const wanted = (event: DragEvent): boolean => takes() && event.dataTransfer?.types.includes('Files') === true;
  place.addEventListener('dragover', (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    place.classList.add('dropping');
  });
  place.addEventListener('dragleave', (event) => {
    if (!place.contains(event.relatedTarget as Node | null)) place.classList.remove('dropping');
  });
  place.addEventListener('drop', (event) => {
    place.classList.remove('dropping');
    if (!wanted(event)) return;
    event.preventDefault();
    taken(event.dataTransfer!);
  });
}
